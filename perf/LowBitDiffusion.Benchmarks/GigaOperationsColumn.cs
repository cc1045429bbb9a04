using System.Globalization;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;

namespace LowBitDiffusion.Benchmarks;

/// <summary>Billions of multiplications and additions a second of a layer, by the mean time.</summary>
public sealed class GigaOperationsColumn : IColumn
{
    public string Id => nameof(GigaOperationsColumn);

    public string ColumnName => "GOPS";

    public bool AlwaysShow => true;

    public ColumnCategory Category => ColumnCategory.Custom;

    public int PriorityInCategory => 0;

    public bool IsNumeric => true;

    public UnitType UnitType => UnitType.Dimensionless;

    public string Legend => "10⁹ operations a second, a multiplication with its addition counted as two";

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase)
    {
        double? nanoseconds = summary[benchmarkCase]?.ResultStatistics?.Mean;
        if (nanoseconds is null || benchmarkCase.Parameters[nameof(ConvolutionBenchmarks.Shape)] is not ConvolutionShape shape) return "-";
        double operations = 2.0 * shape.Geometry.Rows * shape.Geometry.Depth * shape.Geometry.OutChannels;
        return (operations / nanoseconds.Value).ToString("F0", CultureInfo.InvariantCulture);
    }

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) => GetValue(summary, benchmarkCase);

    public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

    public bool IsAvailable(Summary summary) => true;
}
