using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Execution;

/// <summary>Sees a node's value while a network runs.</summary>
/// <param name="node">The node.</param>
/// <param name="rows">Its value as dense rows of channels: <c>[N, H, W, C]</c>, <c>[N, L, C]</c> or <c>[N, C]</c>. Valid during the call.</param>
public delegate void NodeObserver(Node node, ReadOnlySpan<float> rows);

/// <summary>Time spent in one step of a plan.</summary>
/// <param name="Name">The module or node.</param>
/// <param name="Kind">Kind of work.</param>
/// <param name="Macs">Multiply-accumulates of one call.</param>
/// <param name="Calls">Calls.</param>
/// <param name="Total">Time of all calls.</param>
/// <param name="Fastest">Time of the fastest call: what the step takes where nothing disturbs it.</param>
public sealed record StepTiming(string Name, string Kind, long Macs, int Calls, TimeSpan Total, TimeSpan Fastest);
