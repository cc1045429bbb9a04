using LowBitDiffusion.Execution.Planning;

namespace LowBitDiffusion.Tests.Execution;

/// <summary>Regions that are alive at the same time never share a byte, and the arena is not much larger than the busiest moment.</summary>
public sealed class MemoryLayoutTests
{
    [Test]
    public void Regions_alive_together_do_not_overlap([Range(0, 19)] int seed)
    {
        Random random = new(seed);
        Region[] regions = [.. Enumerable.Range(0, 60).Select(_ => Alive(random.Next(1, 5000), random.Next(40), random.Next(8)))];

        Dictionary<Region, long> offsets = [];
        long total = MemoryLayout.Assign(regions, r => r.Bytes, offsets);

        foreach (Region a in regions)
        {
            Assert.That(offsets[a] + a.Bytes, Is.LessThanOrEqualTo(total));
            foreach (Region b in regions.Where(b => b != a && a.First <= b.Last && b.First <= a.Last))
                Assert.That(offsets[a] + a.Bytes <= offsets[b] || offsets[b] + b.Bytes <= offsets[a], $"[{offsets[a]}, +{a.Bytes}) and [{offsets[b]}, +{b.Bytes}) overlap while both live");
        }
    }

    [Test]
    public void Memory_is_used_again_when_a_region_has_died()
    {
        Region[] chain = [.. Enumerable.Range(0, 10).Select(i => Alive(1000, i, 1))];

        Assert.That(MemoryLayout.Assign(chain, r => r.Bytes, []), Is.EqualTo(2 * chain[0].Bytes), "a chain needs a source and a destination");
    }

    [Test]
    public void A_merged_region_has_the_address_of_its_operand()
    {
        Region operand = Alive(1000, 0, 3), sum = Alive(1000, 3, 4);
        sum.MergeInto(operand);

        Assert.That(sum.Root, Is.SameAs(operand));
        Assert.That(operand.Last, Is.EqualTo(7), "the operand's memory lives as long as the sum");
    }

    private static Region Alive(long bytes, int first, int length)
    {
        Region region = new(RegionKind.Arena, bytes);
        region.Touch(first);
        region.Touch(first + length);
        return region;
    }
}
