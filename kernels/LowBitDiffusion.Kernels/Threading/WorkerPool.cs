using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;

namespace LowBitDiffusion.Kernels.Threading;

/// <summary>Work that splits into numbered pieces, each independent of the others.</summary>
public interface IParallelBody
{
    /// <summary>Does piece <paramref name="index"/>.</summary>
    void Run(int index);
}

/// <summary>
/// A fixed set of threads that share out numbered pieces of work. The caller works too, and does not wait for threads that are late: who comes
/// when all pieces are taken finds the door closed. Nothing is allocated per call; waiting threads spin for some microseconds (the next layer
/// usually follows at once) and then sleep in the kernel. Calls from several threads take turns; a call from inside a piece runs on that thread alone.
/// <code>
///   caller   job fields → door open → epoch + 1, wake → pieces … → door closed → wait until nobody is inside
///   helper                            sees the epoch  → enter?  → pieces … → leave (the last one out wakes the caller)
/// </code>
/// </summary>
public sealed unsafe class WorkerPool : IDisposable
{
    /// <summary>In <see cref="_inside"/>: no more helpers may enter.</summary>
    private const int Closed = int.MinValue;

    /// <summary>Less work is done sooner than shared: a thread that spins takes a microsecond to join, one that sleeps up to fifty to be woken.</summary>
    private const double MinSharedNanoseconds = 4000;

    private static readonly long s_spinTicks = Environment.ProcessorCount > 1 ? Stopwatch.Frequency * 30 / 1_000_000 : 0;

    private readonly Thread[] _threads;
    private readonly Lock _gate = new();
    private readonly object _wake = new();
    private readonly object _done = new();

    private delegate*<void*, int, void> _invoke;
    private void* _body;
    private int _count;
    private long _next;
    private int _inside = Closed;
    private int _epoch;
    private Exception? _failure;
    private volatile bool _stopping;

    /// <summary>Starts <paramref name="threads"/> − 1 threads; the caller is the last.</summary>
    /// <param name="threads">How many threads work on one call, at least 1.</param>
    public WorkerPool(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        _threads = new Thread[threads - 1];
        for (int i = 0; i < _threads.Length; i++)
        {
            _threads[i] = new Thread(Work) { IsBackground = true, Name = $"lowbit-{i + 1}" };
            _threads[i].Start();
        }
    }

    /// <summary>Threads that work on one call, the caller included.</summary>
    public int Threads => _threads.Length + 1;

    /// <summary>
    /// Runs pieces 0 … <paramref name="count"/> − 1 and returns when all are done. If a piece throws, pieces not yet begun are left out and,
    /// when no thread is inside any more, the first exception is thrown again here.
    /// </summary>
    /// <typeparam name="TBody">A struct, so that the call allocates nothing.</typeparam>
    /// <exception cref="ObjectDisposedException">The pool was disposed.</exception>
    public void For<TBody>(int count, TBody body) where TBody : struct, IParallelBody
    {
        ObjectDisposedException.ThrowIf(_stopping, this);
        if (count <= 0) return;
        if (_threads.Length == 0 || count == 1 || _gate.IsHeldByCurrentThread || Array.IndexOf(_threads, Thread.CurrentThread) >= 0)
        {
            for (int i = 0; i < count; i++) body.Run(i);
            return;
        }

        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_stopping, this);
            // The body lives in this frame until every thread has finished with it, so its address is stable.
            _body = Unsafe.AsPointer(ref body);
            _invoke = &Invoke<TBody>;
            _count = count;
            _next = 0;
            Volatile.Write(ref _inside, 0);
            Wake(Math.Min(_threads.Length, count - 1));
            Drain();
            if (Interlocked.Or(ref _inside, Closed) != 0) WaitUntilEmpty();
            if (Interlocked.Exchange(ref _failure, null) is { } failure) ExceptionDispatchInfo.Throw(failure);
        }
    }

    /// <summary>As <see cref="For{TBody}(int, TBody)"/>, but on the calling thread alone where the work is too little to be worth a hand-over.</summary>
    /// <param name="count">Pieces.</param>
    /// <param name="body">Does them.</param>
    /// <param name="nanoseconds">What one thread would take for all of them, roughly.</param>
    /// <typeparam name="TBody">A struct, so that the call allocates nothing.</typeparam>
    /// <exception cref="ObjectDisposedException">The pool was disposed.</exception>
    public void For<TBody>(int count, TBody body, double nanoseconds) where TBody : struct, IParallelBody
    {
        if (nanoseconds >= MinSharedNanoseconds)
        {
            For(count, body);
            return;
        }

        ObjectDisposedException.ThrowIf(_stopping, this);
        for (int i = 0; i < count; i++) body.Run(i);
    }

    /// <summary>Stops the threads, after the call that is running; a second call does nothing.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_stopping) return;
            _stopping = true;
            Wake(_threads.Length);
        }

        foreach (Thread thread in _threads) thread.Join();
    }

    private static void Invoke<TBody>(void* body, int index) where TBody : struct, IParallelBody => Unsafe.AsRef<TBody>(body).Run(index);

    private void Wake(int helpers)
    {
        lock (_wake)
        {
            _epoch++;
            for (int i = 0; i < helpers; i++) Monitor.Pulse(_wake);
        }
    }

    private void WaitUntilEmpty()
    {
        long start = Stopwatch.GetTimestamp();
        while (Volatile.Read(ref _inside) != Closed)
        {
            if (Stopwatch.GetTimestamp() - start < s_spinTicks)
            {
                Thread.SpinWait(8);
                continue;
            }

            lock (_done)
            {
                while (Volatile.Read(ref _inside) != Closed) Monitor.Wait(_done);
            }
        }
    }

    private void Work()
    {
        for (int seen = 0; ;)
        {
            seen = WaitForEpochAfter(seen);
            if (_stopping) return;
            if (!TryEnter()) continue;
            Drain();
            if (Interlocked.Decrement(ref _inside) != Closed) continue;
            lock (_done) Monitor.Pulse(_done);
        }
    }

    private int WaitForEpochAfter(int seen)
    {
        long start = Stopwatch.GetTimestamp();
        while (Volatile.Read(ref _epoch) == seen && Stopwatch.GetTimestamp() - start < s_spinTicks) Thread.SpinWait(8);
        lock (_wake)
        {
            while (_epoch == seen) Monitor.Wait(_wake);
            return _epoch;
        }
    }

    private bool TryEnter()
    {
        while (true)
        {
            int inside = Volatile.Read(ref _inside);
            if (inside < 0) return false;
            if (Interlocked.CompareExchange(ref _inside, inside + 1, inside) == inside) return true;
        }
    }

    private void Drain()
    {
        try
        {
            long index;
            while ((index = Interlocked.Increment(ref _next) - 1) < _count) _invoke(_body, (int)index);
        }
        catch (Exception exception)
        {
            Interlocked.CompareExchange(ref _failure, exception, null);
            Volatile.Write(ref _next, _count);
        }
    }
}
