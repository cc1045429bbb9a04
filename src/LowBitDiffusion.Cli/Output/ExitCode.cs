namespace LowBitDiffusion.Cli.Output;

/// <summary>What <c>lbd</c> tells the shell.</summary>
internal static class ExitCode
{
    /// <summary>Done.</summary>
    public const int Success = 0;

    /// <summary>The command ran, and what it checked is wrong.</summary>
    public const int CheckFailed = 1;

    /// <summary>Arguments, a file or a request cannot be used; one line says what, where, expected and found.</summary>
    public const int BadInput = 2;

    /// <summary>A defect of the program or the machine.</summary>
    public const int Unexpected = 3;

    /// <summary>Ctrl-C: 128 + SIGINT.</summary>
    public const int Cancelled = 130;
}
