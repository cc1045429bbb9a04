using System.Diagnostics;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Kernels.Tests.Threading;

/// <summary>A pool does every piece once, whatever the number of threads, callers and failures.</summary>
[Category("Kernels")]
public sealed class WorkerPoolTests
{
    [Test]
    public void Every_piece_is_done_once([Values(1, 2, 3, 8)] int threads, [Values(0, 1, 2, 7, 1000)] int count)
    {
        using WorkerPool pool = new(threads);
        int[] done = new int[count];

        for (int round = 1; round <= 20; round++)
        {
            pool.For(count, new Counting(done));
            Assert.That(done, Is.All.EqualTo(round));
        }
    }

    [Test]
    public void The_first_exception_comes_out_and_the_pool_works_on([Values(1, 2, 4)] int threads)
    {
        using WorkerPool pool = new(threads);
        int[] done = new int[100];

        for (int round = 1; round <= 20; round++)
        {
            Assert.That(() => pool.For(100, new Failing(At: 37)), Throws.InvalidOperationException.With.Message.EqualTo("piece 37"));
            pool.For(100, new Counting(done));
            Assert.That(done, Is.All.EqualTo(round));
        }
    }

    [TestCase(100, true)]
    [TestCase(1e9, false)]
    public void Little_work_stays_with_the_caller(double nanoseconds, bool alone)
    {
        using WorkerPool pool = new(2);
        int[] threads = new int[50];
        pool.For(threads.Length, new Remembering(threads), nanoseconds);
        Assert.That(threads.Distinct().ToArray(), alone ? Is.EqualTo(new[] { Environment.CurrentManagedThreadId }) : Has.Length.EqualTo(2), "threads that worked");
        Assert.That(threads, Has.None.Zero, "pieces left out");
    }

    [Test]
    public void Callers_take_turns()
    {
        using WorkerPool pool = new(3);
        int[][] done = [.. Enumerable.Range(0, 4).Select(_ => new int[50])];

        Thread[] callers = [.. done.Select(mine => new Thread(() =>
        {
            for (int round = 0; round < 200; round++) pool.For(mine.Length, new Counting(mine));
        }))];
        foreach (Thread caller in callers) caller.Start();
        foreach (Thread caller in callers) caller.Join();

        Assert.That(done, Is.All.All.EqualTo(200));
    }

    [Test]
    public void A_piece_may_use_the_pool([Values(1, 2, 3)] int threads)
    {
        using WorkerPool pool = new(threads);
        int[] done = new int[10];

        pool.For(8, new Nested(pool, done));

        Assert.That(done, Is.All.EqualTo(8));
    }

    [Test]
    public void A_call_allocates_nothing()
    {
        using WorkerPool pool = new(2);
        int[] done = new int[4];
        pool.For(4, new Counting(done));

        long bytes = Allocation.Of(() =>
        {
            for (int i = 0; i < 1000; i++) pool.For(4, new Counting(done));
        });

        Assert.That(bytes, Is.Zero, "bytes on the caller's thread");
    }

    [Test]
    public void Idle_threads_sleep()
    {
        using WorkerPool pool = new(4);
        pool.For(100, new Counting(new int[100]));
        using Process process = Process.GetCurrentProcess();

        // The runtime compiles in threads of its own: the quietest of some stretches counts.
        TimeSpan used = Enumerable.Range(0, 5).Min(_ => Used(process, TimeSpan.FromMilliseconds(100)));

        Assert.That(used, Is.LessThan(TimeSpan.FromMilliseconds(80)), "three spinning threads would use 100 ms or more");
    }

    private static TimeSpan Used(Process process, TimeSpan stretch)
    {
        process.Refresh();
        TimeSpan before = process.TotalProcessorTime;
        Thread.Sleep(stretch);
        process.Refresh();
        return process.TotalProcessorTime - before;
    }

    [Test]
    public void Dispose_ends_the_threads_and_refuses_work()
    {
        WorkerPool pool = new(3);
        pool.Dispose();
        pool.Dispose();

        Assert.That(() => pool.For(3, new Counting(new int[3])), Throws.TypeOf<ObjectDisposedException>());
    }

    [Test]
    public void At_least_one_thread() => Assert.That(() => new WorkerPool(0), Throws.TypeOf<ArgumentOutOfRangeException>());

    private readonly struct Counting(int[] done) : IParallelBody
    {
        public void Run(int index) => Interlocked.Increment(ref done[index]);
    }

    private readonly struct Remembering(int[] threads) : IParallelBody
    {
        public void Run(int index)
        {
            threads[index] = Environment.CurrentManagedThreadId;
            Thread.Sleep(1);
        }
    }

    private readonly record struct Failing(int At) : IParallelBody
    {
        public void Run(int index)
        {
            if (index == At) throw new InvalidOperationException($"piece {index}");
        }
    }

    private readonly struct Nested(WorkerPool pool, int[] done) : IParallelBody
    {
        public void Run(int index) => pool.For(done.Length, new Counting(done));
    }
}
