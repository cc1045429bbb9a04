using LowBitDiffusion.Imaging;

namespace LowBitDiffusion.Tests.Imaging;

/// <summary>Pixels: from samples, on contact sheets, under text.</summary>
public sealed class ImageTests
{
    // 255·(x/2 + 1/2) rounded half to even: x = 0 is 127.5, which becomes 128; -0.0039215686 is 127.
    [TestCase(-1f, 0)]
    [TestCase(1f, 255)]
    [TestCase(0f, 128)]
    [TestCase(-0.00392157f, 127)]
    [TestCase(0.5f, 191)]
    [TestCase(-7f, 0)]
    [TestCase(7f, 255)]
    [TestCase(float.PositiveInfinity, 255)]
    [TestCase(float.NegativeInfinity, 0)]
    [TestCase(float.NaN, 0)]
    public void ASampleBecomesAByte(float sample, byte expected) => Assert.That(Image.FromSample([sample], 1, 1, 1).Pixels[0], Is.EqualTo(expected));

    [Test]
    public void PlanesBecomeInterleavedChannels()
    {
        float[] sample = [-1, 1, -1, -1, 1, 1];
        Image image = Image.FromSample(sample, 3, 1, 2);
        Assert.That(image.Pixels, Is.EqualTo(new byte[] { 0, 0, 255, 255, 0, 255 }), "[3, 1, 2] to two RGB pixels");
        Assert.That(image.ToSample(), Is.EqualTo(sample), "and back");
    }

    [Test]
    public void ABatchBecomesItsImages()
    {
        Image[] images = Image.FromBatch([-1, -1, 1, 1], 1, 1, 2);
        Assert.That(images.Select(image => image.Pixels), Is.EqualTo(new byte[][] { [0, 0], [255, 255] }));
        Assert.That(() => Image.FromBatch([1, 1, 1], 1, 1, 2), Throws.ArgumentException, "a part of an image");
    }

    [Test]
    public void EveryByteSurvivesTheWayThroughASample()
    {
        var image = new Image(16, 16, 1, [.. Enumerable.Range(0, 256).Select(i => (byte)i)]);
        Assert.That(Image.FromSample(image.ToSample(), 1, 16, 16).Pixels, Is.EqualTo(image.Pixels));
    }

    [TestCase(0, 1, 1)]
    [TestCase(1, -1, 1)]
    [TestCase(1, 1, 2)]
    [TestCase(1 << 20, 1 << 20, 1)]
    public void ImpossibleSizesAreRefused(int width, int height, int channels) =>
        Assert.That(() => new Image(width, height, channels), Throws.InstanceOf<ArgumentOutOfRangeException>());

    [Test]
    public void PixelsMustFitTheSize() => Assert.That(() => new Image(2, 2, 1, new byte[3]), Throws.ArgumentException);

    [Test]
    public void AGridPlacesImagesRowByRow()
    {
        Image[] images = [.. new byte[] { 10, 20, 30 }.Select(value => new Image(1, 1, 1, [value]))];
        Image sheet = ImageGrid.Compose(images, columns: 2, gap: 1, scale: 2, background: 9);
        string[] expected =
        [
            "9 9 9 9 9 9 9",
            "9 10 10 9 20 20 9",
            "9 10 10 9 20 20 9",
            "9 9 9 9 9 9 9",
            "9 30 30 9 9 9 9",
            "9 30 30 9 9 9 9",
            "9 9 9 9 9 9 9",
        ];
        Assert.That(Rows(sheet), Is.EqualTo(expected));
        Assert.That(ImageGrid.Position(2, 2, images[0], gap: 1, scale: 2), Is.EqualTo((1, 4)), "position of the third image");
    }

    [Test]
    public void AGridLeavesRoomForCaptions()
    {
        Image sheet = ImageGrid.Compose([new Image(3, 2, 3), new Image(3, 2, 3)], columns: 5, gap: 1, caption: 8);
        Assert.That((sheet.Width, sheet.Height, sheet.Channels), Is.EqualTo((9, 12, 3)));
    }

    [Test]
    public void AGridRefusesWhatItCannotArrange()
    {
        Assert.That(() => ImageGrid.Compose([], 1), Throws.ArgumentException, "no image");
        Assert.That(() => ImageGrid.Compose([new Image(1, 1, 1), new Image(2, 1, 1)], 1), Throws.ArgumentException, "two sizes");
        Assert.That(() => ImageGrid.Compose([new Image(1, 1, 1)], 0), Throws.InstanceOf<ArgumentOutOfRangeException>(), "no column");
        Assert.That(
            () => ImageGrid.Compose([new Image(1000, 1, 1)], 1, scale: int.MaxValue),
            Throws.InstanceOf<ArgumentOutOfRangeException>(), "immense scale");
    }

    [Test]
    public void WhatIsPastedOutsideIsCutOff()
    {
        var target = new Image(2, 2, 1);
        ImageGrid.Paste(new Image(2, 2, 1, [1, 2, 3, 4]), target, -1, 1);
        ImageGrid.Paste(new Image(2, 2, 1, [1, 2, 3, 4]), target, int.MaxValue, int.MinValue, int.MaxValue);
        Assert.That(Rows(target), Is.EqualTo(new[] { "0 0", "2 0" }));
    }

    [Test]
    public void TextIsDrawnDotByDot()
    {
        var image = new Image(11, 7, 1);
        TextPainter.Draw(image, "L1", 0, 0, [1]);
        string[] expected =
        [
            "#.......#..",
            "#......##..",
            "#.......#..",
            "#.......#..",
            "#.......#..",
            "#.......#..",
            "#####..###.",
        ];
        Assert.That(Rows(image).Select(row => row.Replace(" ", "").Replace('1', '#').Replace('0', '.')), Is.EqualTo(expected));
        Assert.That(TextPainter.Measure("L1"), Is.EqualTo((11, 7)));
        Assert.That(TextPainter.Measure("a\nbc", 2), Is.EqualTo((22, 30)));
    }

    [Test]
    public void EveryPrintableCharacterHasADrawingOfItsOwn()
    {
        string[] drawings = [.. Enumerable.Range(' ', 95).Select(code => Draw((char)code))];
        Assert.That(drawings, Is.Unique);
        Assert.That(Draw('ü'), Is.EqualTo(Draw('?')), "a character without a drawing");
    }

    [Test]
    public void TextOutsideTheImageIsCutOff([Values(-40, -3, 3, int.MaxValue / 4)] int x, [Values(-3, 4)] int y)
    {
        var image = new Image(5, 5, 3);
        Assert.That(() => TextPainter.Draw(image, "text\nlines", x, y, [1, 2, 3], 2), Throws.Nothing);
    }

    private static string Draw(char character)
    {
        var image = new Image(5, 7, 1);
        TextPainter.Draw(image, character.ToString(), 0, 0, [1]);
        return string.Join('\n', Rows(image));
    }

    private static string[] Rows(Image image) =>
        [.. Enumerable.Range(0, image.Height).Select(y => string.Join(' ', image.Pixels.Skip(y * image.Width).Take(image.Width)))];
}
