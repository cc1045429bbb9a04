using System.Runtime.CompilerServices;

namespace LowBitDiffusion.Kernels.Threading;

/// <summary>Work that splits into numbered pieces, each independent of the others.</summary>
public interface IParallelBody
{
    /// <summary>Does piece <paramref name="index"/>.</summary>
    void Run(int index);
}

/// <summary>
/// A fixed set of threads that share out numbered pieces of work. The caller works too. Nothing is allocated per call; waiting threads spin
/// for some microseconds (the next layer usually follows at once) and then sleep in the kernel. Calls from several threads take turns.
/// </summary>
public sealed unsafe class WorkerPool : IDisposable
{
    private const int SpinIterations = 200;

    private readonly Thread[] _threads;
    private readonly SemaphoreSlim _wake = new(0);
    private readonly ManualResetEventSlim _done = new(false, SpinIterations);
    private readonly Lock _gate = new();

    private delegate*<void*, int, void> _invoke;
    private void* _body;
    private int _count;
    private int _next;
    private int _running;
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

    /// <summary>Runs pieces 0 … <paramref name="count"/> − 1 and returns when all are done.</summary>
    /// <typeparam name="TBody">A struct, so that the call allocates nothing.</typeparam>
    public void For<TBody>(int count, TBody body) where TBody : struct, IParallelBody
    {
        if (count <= 0) return;
        if (_threads.Length == 0 || count == 1)
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
            _failure = null;
            _next = 0;
            int helpers = Math.Min(_threads.Length, count - 1);
            _running = helpers;
            _done.Reset();
            _wake.Release(helpers);
            Drain();
            _done.Wait();
            if (_failure is { } failure) throw new AggregateException(failure);
        }
    }

    /// <summary>Stops the threads; a second call does nothing.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_stopping) return;
            _stopping = true;
        }

        if (_threads.Length > 0) _wake.Release(_threads.Length);
        foreach (Thread thread in _threads) thread.Join();
        _wake.Dispose();
        _done.Dispose();
    }

    private static void Invoke<TBody>(void* body, int index) where TBody : struct, IParallelBody => Unsafe.AsRef<TBody>(body).Run(index);

    private void Work()
    {
        while (true)
        {
            _wake.Wait();
            if (_stopping) return;
            Drain();
            if (Interlocked.Decrement(ref _running) == 0) _done.Set();
        }
    }

    private void Drain()
    {
        try
        {
            int index;
            while ((index = Interlocked.Increment(ref _next) - 1) < _count) _invoke(_body, index);
        }
        catch (Exception exception)
        {
            Interlocked.CompareExchange(ref _failure, exception, null);
            Volatile.Write(ref _next, _count);
        }
    }
}
