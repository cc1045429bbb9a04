using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Staging;

/// <summary>Runs a <see cref="StagingJob"/>.</summary>
public static unsafe class StagingPass
{
    /// <summary>Writes codes.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="job">What to read and how to change it.</param>
    /// <param name="codes">Padded destination <c>[Batch, PaddedHeight, PaddedWidth, Channels]</c>; its border is filled with the zero points.</param>
    /// <param name="level">Instruction set; the codes do not depend on it.</param>
    /// <exception cref="ArgumentException">Parts of the job contradict each other.</exception>
    public static void Quantize(WorkerPool pool, in StagingJob job, byte* codes, SimdLevel level = SimdLevel.Auto)
    {
        Validate(job);
        if (job.MaxCode is < 1 or > byte.MaxValue) throw new ArgumentException($"a largest code of {job.MaxCode} is not within 1…255", nameof(job));
        if (job.InverseScales == null)
        {
            LevelJob<UniformCodes, byte> uniform = new(pool, job, codes);
            SimdDispatch.Run(level, ref uniform);
        }
        else
        {
            LevelJob<ChannelCodes, byte> perChannel = new(pool, job, codes);
            SimdDispatch.Run(level, ref perChannel);
        }
    }

    /// <summary>Writes floats.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="job">What to read and how to change it; its quantizers are not used.</param>
    /// <param name="values">Padded destination <c>[Batch, PaddedHeight, PaddedWidth, Channels]</c>; its border is filled with 0.</param>
    /// <param name="level">Instruction set; the values do not depend on it.</param>
    /// <exception cref="ArgumentException">Parts of the job contradict each other.</exception>
    public static void Store(WorkerPool pool, in StagingJob job, float* values, SimdLevel level = SimdLevel.Auto)
    {
        Validate(job);
        LevelJob<Floats, float> floats = new(pool, job, values);
        SimdDispatch.Run(level, ref floats);
    }

    private static void Validate(in StagingJob job)
    {
        if (job.Batch < 0 || job.FirstChannels < 1 || job.SecondChannels < 0 || job.SourceHeight < 1 || job.SourceWidth < 1 || job.Height < 1 || job.Width < 1)
        {
            throw new ArgumentException("an image has no pixels or no channels", nameof(job));
        }

        if (job.Top < 0 || job.Left < 0 || job.Bottom < 0 || job.Right < 0) throw new ArgumentException("a border is negative", nameof(job));
        if ((job.RowMean == null) != (job.RowInverseDeviation == null)) throw new ArgumentException("row means and deviations come together", nameof(job));
        if ((job.Factor == null) != (job.Offset == null)) throw new ArgumentException("factors and offsets come together", nameof(job));
        if (job.SplitChannel < 0 || job.SplitChannel >= job.Channels) throw new ArgumentException($"a split at {job.SplitChannel} is not within {job.Channels} channels", nameof(job));
    }

    /// <summary>From run-time choices to types: level, then normalisation, then activation.</summary>
    private readonly struct LevelJob<TDestination, TElement>(WorkerPool pool, StagingJob job, TElement* destination) : ISimdJob
        where TDestination : struct, IStagingDestination<TElement> where TElement : unmanaged
    {
        public void Run<TSimd, TVector>() where TSimd : struct, ISimd<TVector> where TVector : struct
        {
            if (job.RowMean != null) Run<TSimd, TVector, RowNormalization>();
            else if (job.Factor != null) Run<TSimd, TVector, ChannelAffine>();
            else Run<TSimd, TVector, NoNormalization>();
        }

        private void Run<TSimd, TVector, TNormalization>()
            where TSimd : struct, ISimd<TVector> where TVector : struct where TNormalization : struct, IStagingNormalization
        {
            switch (job.Activation)
            {
                case Activation.None: Run<TSimd, TVector, TNormalization, IdentityActivation>(); break;
                case Activation.Silu: Run<TSimd, TVector, TNormalization, SiluActivation>(); break;
                case Activation.Gelu: Run<TSimd, TVector, TNormalization, GeluActivation>(); break;
                case Activation.GeluTanh: Run<TSimd, TVector, TNormalization, GeluTanhActivation>(); break;
                case Activation.QuickGelu: Run<TSimd, TVector, TNormalization, QuickGeluActivation>(); break;
                default: throw new ArgumentException($"no activation {job.Activation}", nameof(job));
            }
        }

        private void Run<TSimd, TVector, TNormalization, TActivation>()
            where TSimd : struct, ISimd<TVector> where TVector : struct where TNormalization : struct, IStagingNormalization where TActivation : struct, IActivation
        {
            StagingBody<TSimd, TVector, TNormalization, TActivation, TDestination, TElement> body = new(job, destination);
            pool.For(body.Pieces, body);
        }
    }
}
