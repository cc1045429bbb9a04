namespace LowBitDiffusion.Cli.Output;

/// <summary>Tables as lines of text that are also Markdown, for files, pipes and documents.</summary>
internal static class MarkdownTable
{
    /// <summary>Columns of text that a table takes.</summary>
    public static int Width(IReadOnlyList<string> headers, IReadOnlyList<IReadOnlyList<string>> rows) =>
        1 + headers.Select((header, column) => 3 + rows.Select(row => row[column].Length).Append(header.Length).Max()).Sum();

    /// <summary>Writes a table. Columns whose header starts with a space are aligned to the right.</summary>
    public static void Write(TextWriter writer, IReadOnlyList<string> headers, IReadOnlyList<IReadOnlyList<string>> rows)
    {
        string[][] cells = [.. rows.Prepend([.. headers.Select(header => header.TrimStart())]).Select(row => row.Select(cell => cell.Replace("|", "\\|", StringComparison.Ordinal)).ToArray())];
        int[] widths = [.. Enumerable.Range(0, headers.Count).Select(column => Math.Max(3, cells.Max(row => row[column].Length)))];
        bool[] right = [.. headers.Select(header => header.StartsWith(' '))];
        WriteRow(cells[0]);
        writer.WriteLine($"|{string.Join('|', widths.Select((width, column) => right[column] ? $" {new string('-', width - 1)}: " : $" {new string('-', width)} "))}|");
        foreach (string[] row in cells.Skip(1)) WriteRow(row);

        void WriteRow(string[] row) => writer.WriteLine($"|{string.Join('|', row.Select((cell, column) => $" {(right[column] ? cell.PadLeft(widths[column]) : cell.PadRight(widths[column]))} "))}|");
    }
}
