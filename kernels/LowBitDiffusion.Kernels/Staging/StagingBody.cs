using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Staging;

/// <summary>
/// A staging pass in pieces: some rows of the padded destination. A pixel's channels fall into up to three ranges, each with one source and one quantizer:
/// <code>
///   channels   0 ──────────── FirstChannels ──────────────── Channels
///   sources    │    First     │            Second            │
///   quantizers │         Quantizer         │ SplitQuantizer  │
///   ranges     │      0       │     1      │        2        │
/// </code>
/// Upsampled pixels and rows that repeat their neighbour are copied from it.
/// </summary>
internal readonly unsafe struct StagingBody<TSimd, TVector, TNormalization, TActivation, TDestination, TElement> : IParallelBody
    where TSimd : struct, ISimd<TVector> where TVector : struct
    where TNormalization : struct, IStagingNormalization where TActivation : struct, IActivation
    where TDestination : struct, IStagingDestination<TElement> where TElement : unmanaged
{
    private const int PieceElements = 16 << 10;

    private readonly StagingJob _job;
    private readonly TElement* _destination;
    private readonly int _piecesPerImage;
    private readonly int _pieceRows;

    public StagingBody(in StagingJob job, TElement* destination)
    {
        _job = job;
        _destination = destination;
        _pieceRows = Math.Clamp(PieceElements / (job.PaddedWidth * job.Channels), 1, job.PaddedHeight);
        _piecesPerImage = (job.PaddedHeight + _pieceRows - 1) / _pieceRows;
    }

    /// <summary>How many pieces there are.</summary>
    public int Pieces => _job.Batch * _piecesPerImage;

    /// <inheritdoc/>
    public void Run(int index)
    {
        int image = index / _piecesPerImage, first = index % _piecesPerImage * _pieceRows, last = Math.Min(first + _pieceRows, _job.PaddedHeight);
        nint rowLength = (nint)_job.PaddedWidth * _job.Channels;
        TElement* row = _destination + ((nint)image * _job.PaddedHeight + first) * rowLength;
        int previous = -1;
        for (int padded = first; padded < last; padded++, row += rowLength)
        {
            int y = padded - _job.Top;
            if (y < 0 || y >= _job.Height)
            {
                FillBorder(row, _job.PaddedWidth);
                continue;
            }

            int sourceY = Source(y, _job.SourceHeight, _job.Height);
            if (sourceY == previous)
            {
                Buffer.MemoryCopy(row - rowLength, row, rowLength * sizeof(TElement), rowLength * sizeof(TElement));
                continue;
            }

            previous = sourceY;
            FillBorder(row, _job.Left);
            WriteRow(row + (nint)_job.Left * _job.Channels, image, (nint)image * _job.SourceHeight + sourceY);
            FillBorder(row + (nint)(_job.Left + _job.Width) * _job.Channels, _job.Right);
        }
    }

    private static int Source(int position, int sourceSize, int size) => sourceSize == size ? position : (int)((long)position * sourceSize / size);

    private void FillBorder(TElement* pixel, int pixels)
    {
        int split = _job.SplitChannel == 0 ? _job.Channels : _job.SplitChannel;
        for (int i = 0; i < pixels; i++, pixel += _job.Channels)
        {
            new Span<TElement>(pixel, split).Fill(TDestination.Border(_job.Quantizer));
            new Span<TElement>(pixel + split, _job.Channels - split).Fill(TDestination.Border(_job.SplitQuantizer));
        }
    }

    private void WriteRow(TElement* destination, int image, nint sourceRow)
    {
        nint first = sourceRow * _job.SourceWidth;
        if (_job.Width == _job.SourceWidth)
        {
            WritePixels(destination, image, first, _job.Width);
            return;
        }

        int previous = -1, channels = _job.Channels;
        for (int x = 0; x < _job.Width; x++, destination += channels)
        {
            int sourceX = Source(x, _job.SourceWidth, _job.Width);
            if (sourceX == previous) Buffer.MemoryCopy(destination - channels, destination, channels * sizeof(TElement), channels * sizeof(TElement));
            else WritePixels(destination, image, first + sourceX, 1);
            previous = sourceX;
        }
    }

    private void WritePixels(TElement* destination, int image, nint pixel, int pixels)
    {
        int channels = _job.Channels, split = _job.SplitChannel == 0 ? channels : _job.SplitChannel;
        for (int start = 0, end; start < channels; start = end)
        {
            end = start < _job.FirstChannels ? _job.FirstChannels : channels;
            if (start < split) end = Math.Min(end, split);
            WriteRange(destination + start, image, pixel, pixels, start, end - start, start < split ? _job.Quantizer : _job.SplitQuantizer);
        }
    }

    private void WriteRange(TElement* destination, int image, nint pixel, int pixels, int start, int count, ChannelQuantizer quantizer)
    {
        bool ofFirst = start < _job.FirstChannels;
        StagingRange range = new()
        {
            Source = ofFirst ? _job.First.Row(pixel) + start : _job.Second.Row(pixel) + (start - _job.FirstChannels),
            SourceStride = ofFirst ? _job.First.Stride : _job.Second.Stride,
            Means = _job.RowMean == null ? null : _job.RowMean + pixel,
            InverseDeviations = _job.RowMean == null ? null : _job.RowInverseDeviation + pixel,
            Factor = _job.Factor == null ? null : _job.Factor + image * _job.AffineStride + start,
            Offset = _job.Offset == null ? null : _job.Offset + image * _job.AffineStride + start,
            InverseScales = _job.InverseScales == null ? null : _job.InverseScales + start,
            InverseScale = quantizer.InverseScale,
            ZeroPoint = quantizer.ZeroPoint,
            MaxCode = _job.MaxCode,
        };
        StagingRow<TNormalization, TActivation, TDestination, TElement>.Write<TSimd, TVector>(range, destination, count, pixels, _job.Channels);
    }
}
