using LowBitDiffusion.Imaging;
using LowBitDiffusion.Quantizer.Evaluation;

namespace LowBitDiffusion.Quantizer.Tests.Evaluation;

/// <summary>Rows of models, columns of seeds, names beside and above.</summary>
[TestFixture]
internal sealed class ContactSheetTests
{
    [TestCase(1, 1, 8, 1)]
    [TestCase(3, 10, 28, 1)]
    [TestCase(2, 23, 64, 3)]
    public void EveryPictureIsOnTheSheet(int rows, int count, int size, int channels)
    {
        // Every picture has a grey of its own.
        Image Picture(int row, int i)
        {
            Image picture = new(size, size, channels);
            picture.Pixels.AsSpan().Fill((byte)(20 + row * 60 + i));
            return picture;
        }

        (string, IReadOnlyList<Image>)[] all = [.. Enumerable.Range(0, rows).Select(row => ($"model {row}", (IReadOnlyList<Image>)[.. Enumerable.Range(0, count).Select(i => Picture(row, i))]))];
        Image sheet = ContactSheet.Compose(all, [.. Enumerable.Range(0, count).Select(i => $"label {i}")]);
        int scale = Math.Max(1, 56 / size);
        ILookup<byte, byte> greys = sheet.Pixels.Where((_, i) => i % channels == 0).ToLookup(grey => grey);
        for (int row = 0; row < rows; row++)
        {
            for (int i = 0; i < count; i++) Assert.That(greys[(byte)(20 + row * 60 + i)].Count(), Is.EqualTo(size * size * scale * scale), $"picture {i} of model {row} is whole");
        }

        Assert.That(greys[0].Count(), Is.GreaterThan(50), "there are letters");
    }

    [Test]
    public void PicturesThatDifferAreRefused()
    {
        Assert.That(() => ContactSheet.Compose([("a", [new Image(8, 8, 1)]), ("b", [new Image(8, 9, 1)])], []), Throws.ArgumentException.With.Message.Contains("'b'"));
        Assert.That(() => ContactSheet.Compose([("a", [new Image(8, 8, 1)]), ("b", [])], []), Throws.ArgumentException.With.Message.Contains("'b' has 0 pictures"));
    }
}
