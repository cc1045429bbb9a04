using LowBitDiffusion.Quantizer.Methods;

namespace LowBitDiffusion.Quantizer.Tests.Support;

/// <summary>Every method on every subject, in widths that go round, so that each method and each subject has all of them.</summary>
internal static class MethodCases
{
    private static readonly (int Weights, int Activations)[] s_widths = [(8, 8), (4, 8), (4, 4)];

    /// <summary>Cases of a method, a subject's own arguments, bits of weights and bits of activations.</summary>
    public static IEnumerable<TestCaseData> Of(IEnumerable<(string Name, object[] Arguments)> subjects) =>
        from method in QuantizationMethods.All.Index()
        from subject in subjects.Index()
        let width = s_widths[(method.Index + subject.Index) % s_widths.Length]
        select new TestCaseData([method.Item, .. subject.Item.Arguments, width.Weights, width.Activations]).SetArgDisplayNames(method.Item.Name, subject.Item.Name, $"w{width.Weights}a{width.Activations}");
}
