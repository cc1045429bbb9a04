namespace LowBitDiffusion.Quantizer.Autograd;

/// <summary>
/// Arrays of one pass that the next pass uses again: passes of a network allocate the same hundreds of megabytes every time, and memory fresh from the system costs as much as the arithmetic on it.
/// While a scope is open, <see cref="Vectors.Allocate"/> takes its arrays here (on the thread that opened it); when it closes, all of them are free, so nothing that was allocated within may be kept.
/// </summary>
/// <param name="limit">Bytes that are kept at most; what goes beyond is left to the garbage collector.</param>
internal sealed class PassMemory(long limit)
{
    [ThreadStatic]
    private static PassMemory? s_current;

    private readonly Dictionary<int, Stack<float[]>> _free = [];
    private readonly List<float[]> _taken = [];
    private long _bytes;

    /// <summary>The memory of the open scope, if there is one.</summary>
    public static PassMemory? Current => s_current;

    /// <summary>Opens a scope.</summary>
    /// <exception cref="InvalidOperationException">One is open.</exception>
    public Scope Open()
    {
        if (s_current is not null) throw new InvalidOperationException("scopes do not nest");
        s_current = this;
        return new Scope(this);
    }

    /// <summary>Makes something that outlives the open scope, if there is one.</summary>
    public static T Lasting<T>(Func<T> make)
    {
        PassMemory? open = s_current;
        s_current = null;
        try
        {
            return make();
        }
        finally
        {
            s_current = open;
        }
    }

    /// <summary>An array with arbitrary contents.</summary>
    public float[] Take(int length)
    {
        if (!_free.TryGetValue(length, out Stack<float[]>? free)) _free.Add(length, free = []);
        if (!free.TryPop(out float[]? array))
        {
            array = GC.AllocateUninitializedArray<float>(length);
            if (_bytes + (long)length * sizeof(float) > limit) return array;
            _bytes += (long)length * sizeof(float);
        }

        _taken.Add(array);
        return array;
    }

    /// <summary>Frees a scope's arrays.</summary>
    internal readonly struct Scope(PassMemory memory) : IDisposable
    {
        public void Dispose()
        {
            s_current = null;
            foreach (float[] array in memory._taken) memory._free[array.Length].Push(array);
            memory._taken.Clear();
        }
    }
}
