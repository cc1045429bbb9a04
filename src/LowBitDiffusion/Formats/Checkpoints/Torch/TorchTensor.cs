namespace LowBitDiffusion.Formats.Checkpoints.Torch;

/// <summary>A one-dimensional piece of memory that tensors look at.</summary>
/// <param name="Type">Type of its elements.</param>
/// <param name="Key">Its name in the archive.</param>
/// <param name="Elements">How many elements it has.</param>
internal sealed record TorchStorage(DType Type, string Key, long Elements);

/// <summary>A tensor: a view of a storage.</summary>
/// <param name="Storage">The memory.</param>
/// <param name="Offset">Its first element.</param>
/// <param name="Shape">Dimensions.</param>
/// <param name="Strides">Elements from one index to the next, for each dimension.</param>
internal sealed record TorchTensor(TorchStorage Storage, long Offset, long[] Shape, long[] Strides)
{
    /// <summary>Whether its elements lie one after the other in row-major order.</summary>
    public bool IsContiguous
    {
        get
        {
            long expected = 1;
            for (int axis = Shape.Length - 1; axis >= 0; axis--)
            {
                if (Shape[axis] != 1 && Strides[axis] != expected) return false;
                expected *= Shape[axis];
            }

            return true;
        }
    }

    /// <summary>Number of elements.</summary>
    public long Elements => DTypes.Elements(Shape);

    /// <summary>What does not fit, or null: the view must lie in its storage, and no element may be seen twice as a way to make a small file large.</summary>
    public string? Problem()
    {
        if (Shape.Length != Strides.Length || Shape.Length > 16) return $"expected as many strides as dimensions and at most 16, found {Strides.Length} and {Shape.Length}";
        if (Offset < 0 || Shape.Any(extent => extent < 0) || Strides.Any(stride => stride < 0)) return "has a negative offset, size or stride";
        try
        {
            long elements = Elements, last = Offset;
            if (elements == 0) return null;
            for (int axis = 0; axis < Shape.Length; axis++) last = checked(last + checked((Shape[axis] - 1) * Strides[axis]));
            return last >= Storage.Elements ? $"reaches element {last} of a storage of {Storage.Elements}"
                : elements > Storage.Elements ? $"shows the {Storage.Elements} elements of its storage as {elements}"
                : null;
        }
        catch (OverflowException)
        {
            return "is larger than any file";
        }
    }

    /// <summary>Copies the elements out of the storage's bytes in row-major order.</summary>
    /// <param name="storage">Bytes of the storage from <see cref="Offset"/> on.</param>
    public byte[] Gather(ReadOnlySpan<byte> storage)
    {
        int size = DTypes.Size(Storage.Type);
        byte[] result = new byte[Elements * size];
        long[] index = new long[Shape.Length];
        long place = 0;
        for (int done = 0; done < result.Length; done += size)
        {
            storage.Slice((int)(place * size), size).CopyTo(result.AsSpan(done));
            for (int axis = Shape.Length - 1; axis >= 0; axis--)
            {
                place += Strides[axis];
                if (++index[axis] < Shape[axis]) break;
                place -= Strides[axis] * Shape[axis];
                index[axis] = 0;
            }
        }

        return result;
    }

    /// <summary>Elements from the first to the last that it sees.</summary>
    public long Span => Elements == 0 ? 0 : 1 + Shape.Zip(Strides, (extent, stride) => (extent - 1) * stride).Sum();
}
