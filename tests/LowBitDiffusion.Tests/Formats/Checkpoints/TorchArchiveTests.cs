using FsCheck;
using FsCheck.Fluent;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Formats.Checkpoints.Torch;
using NUnit.Framework.Constraints;

namespace LowBitDiffusion.Tests.Formats.Checkpoints;

/// <summary>PyTorch's checkpoints: tensors are found, everything else is refused by name, nothing is executed.</summary>
[TestFixture]
public sealed class TorchArchiveTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public void Nested_dictionaries_become_names()
    {
        TorchFile file = new();
        string storage = file.Storage(Singles(1, 2, 3, 4, 5, 6));
        file.Pickle.Dictionary(
            ("epoch", p => p.Integer(-3)),
            ("state_dict", p => p.Dictionary(("model.w", q => q.Tensor("FloatStorage", storage, 6, 0, [2, 3], [3, 1])), ("lr", q => q.Raw((byte)'G', 0, 0, 0, 0, 0, 0, 0, 0)))),
            ("list", p => p.List(q => q.Raw((byte)'N'), q => q.Tensor("FloatStorage", storage, 6, 4, [2], [1]))),
            ("tuple", p => p.Tuple(q => q.Raw(0x88), q => q.Call("torch._utils", "_rebuild_parameter", r => r.Tensor("FloatStorage", storage, 6, 5, [], []), r => r.Raw(0x88), r => r.Call("collections", "OrderedDict")))));
        using TorchArchive archive = Open(file);
        Assert.That(archive.Tensors.Keys, Is.EquivalentTo(new[] { "state_dict.model.w", "list.1", "tuple.1" }));
        Assert.That(archive.Tensors["state_dict.model.w"].Shape, Is.EqualTo(new long[] { 2, 3 }));
        Assert.That(archive.ReadSingles("state_dict.model.w"), Is.EqualTo(new[] { 1f, 2, 3, 4, 5, 6 }));
        Assert.That(archive.ReadSingles("list.1"), Is.EqualTo(new[] { 5f, 6 }), "a view into the same storage");
        Assert.That(archive.ReadSingles("tuple.1"), Is.EqualTo(new[] { 6f }), "a parameter of no dimensions");
        Assert.That(archive.Integers, Is.EqualTo(new Dictionary<string, long> { ["epoch"] = -3 }));
    }

    [TestCase(new long[] { 3, 2 }, new long[] { 1, 3 }, 0, new float[] { 1, 4, 2, 5, 3, 6 }, TestName = "Transposed")]
    [TestCase(new long[] { 2 }, new long[] { 3 }, 1, new float[] { 2, 5 }, TestName = "A column")]
    [TestCase(new long[] { 2, 2 }, new long[] { 2, 1 }, 2, new float[] { 3, 4, 5, 6 }, TestName = "The end")]
    [TestCase(new long[] { 2, 1, 2 }, new long[] { 1, 77, 3 }, 0, new float[] { 1, 4, 2, 5 }, TestName = "A dimension of 1 with any stride")]
    [TestCase(new long[] { 0, 5 }, new long[] { 5, 1 }, 0, new float[] { }, TestName = "Nothing")]
    public void Strided_views_are_gathered(long[] shape, long[] strides, long offset, float[] expected)
    {
        TorchFile file = new();
        file.Pickle.Dictionary(("w", p => p.Tensor("FloatStorage", file.Storage(Singles(1, 2, 3, 4, 5, 6)), 6, offset, shape, strides)));
        using TorchArchive archive = Open(file);
        byte[] bytes = Singles(expected);
        Assert.That(archive.ReadSingles("w"), Is.EqualTo(expected));
        Assert.That(archive.ReadBytes("w"), Is.EqualTo(bytes));
        if (bytes.Length < 8) return;
        byte[] range = new byte[4];
        archive.ReadRange("w", 4, range);
        Assert.That(range, Is.EqualTo(bytes[4..8]));
        Assert.That(() => archive.ReadRange("w", bytes.Length, range), Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    [TestCase("HalfStorage", DType.F16, 2)]
    [TestCase("BFloat16Storage", DType.BF16, 2)]
    [TestCase("DoubleStorage", DType.F64, 8)]
    [TestCase("LongStorage", DType.I64, 8)]
    [TestCase("IntStorage", DType.I32, 4)]
    [TestCase("ShortStorage", DType.I16, 2)]
    [TestCase("CharStorage", DType.I8, 1)]
    [TestCase("ByteStorage", DType.U8, 1)]
    [TestCase("BoolStorage", DType.Bool, 1)]
    public void Storages_have_types(string storage, DType type, int size)
    {
        TorchFile file = new() { ByteOrder = null };
        byte[] bytes = [.. Enumerable.Range(1, 3 * size).Select(value => (byte)value)];
        file.Pickle.Dictionary(("w", p => p.Tensor(storage, file.Storage(bytes), 3, 0, [3], [1])));
        using TorchArchive archive = Open(file);
        Assert.That(archive.Tensors["w"].DType, Is.EqualTo(type));
        Assert.That(archive.ReadBytes("w"), Is.EqualTo(bytes));
    }

    // Protocol 4 has other instructions for texts, names and memory.
    [Test]
    public void Newer_protocols_are_read()
    {
        TorchFile file = new();
        string key = file.Storage(Singles(7));
        PickleWriter pickle = file.Pickle.Raw(0x80, 4).Raw(0x95, 9, 0, 0, 0, 0, 0, 0, 0).Raw((byte)'}', 0x94).Raw(0x8c, 1, (byte)'w', 0x94);
        foreach (string text in (string[])["torch._utils", "_rebuild_tensor_v2"]) pickle.Raw([0x8c, (byte)text.Length, .. System.Text.Encoding.ASCII.GetBytes(text)]);
        pickle.Raw(0x93, 0x94, (byte)'(').Tuple(p => p.Text("storage"), p => p.Global("torch", "FloatStorage"), p => p.Text(key), p => p.Text("cpu"), p => p.Raw((byte)'K', 1)).Raw((byte)'Q');
        pickle.Raw((byte)'K', 0).Raw((byte)'K', 1, 0x85).Raw((byte)'K', 1, 0x85).Raw(0x89).Raw((byte)'N').Raw((byte)'t', (byte)'R', (byte)'s');
        using TorchArchive archive = Open(file);
        Assert.That(archive.ReadSingles("w"), Is.EqualTo(new[] { 7f }));
    }

    [Test]
    public void Values_that_training_leaves_behind_are_ignored()
    {
        TorchFile file = new();
        file.Pickle.Dictionary(
            ("callbacks", p => p.Raw((byte)'}', (byte)'(').Global("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint").Dictionary(("best", q => Scalar(q))).Raw((byte)'u')),
            ("set", p => p.Call("__builtin__", "set", q => q.List(r => r.Integer(1)))),
            ("metadata", p => p.Call("collections", "OrderedDict").Dictionary(("_metadata", q => q.Raw((byte)'N'))).Raw((byte)'b')),
            ("w", p => p.Tensor("FloatStorage", file.Storage(Singles(1)), 1, 0, [1], [1])));
        using TorchArchive archive = Open(file);
        Assert.That(archive.Tensors.Keys, Is.EqualTo(new[] { "w" }));

        static void Scalar(PickleWriter p) => p.Call(
            "numpy.core.multiarray", "scalar", q => q.Call("numpy", "dtype", r => r.Text("f8"), r => r.Raw(0x89), r => r.Raw(0x88)), q => q.Call("_codecs", "encode", r => r.Text("x"), r => r.Text("latin1")));
    }

    [TestCase("os", "system")]
    [TestCase("posix", "system")]
    [TestCase("subprocess", "Popen")]
    [TestCase("builtins", "eval")]
    [TestCase("builtins", "getattr")]
    [TestCase("__builtin__", "exec")]
    [TestCase("torch", "load")]
    [TestCase("torch.storage", "_load_from_bytes")]
    [TestCase("torch", "FloatStorage.__init__")]
    [TestCase("numpy.core.multiarray", "fromfile")]
    [TestCase("torch._utils", "_rebuild_tensor_v2.__globals__")]
    public void Everything_else_is_refused_by_name(string module, string name)
    {
        Refuses($"'{module}.{name}'", p => p.Call(module, name, q => q.Text("echo")));
        Refuses($"'{module}.{name}'", p => p.Text(module).Text(name).Raw(0x93));
        Refuses($"'{module}.{name}'", p => p.Global(module, name).Tuple().Raw(0x81));
    }

    [Test]
    public void Types_are_not_called()
    {
        Refuses("a call of 'torch.FloatStorage'", p => p.Call("torch", "FloatStorage", q => q.Integer(1)));
        Refuses("a call of 'pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint'", p => p.Call("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"));
        Refuses("a call of 'torch._utils._rebuild_tensor_v2' with 1 arguments", p => p.Call("torch._utils", "_rebuild_tensor_v2", q => q.Text("x")));
    }

    [TestCase((byte)'i', TestName = "INST")]
    [TestCase((byte)'o', TestName = "OBJ")]
    [TestCase((byte)0x82, TestName = "EXT1")]
    [TestCase((byte)0x92, TestName = "NEWOBJ_EX")]
    [TestCase((byte)'P', TestName = "PERSID")]
    public void Other_instructions_are_refused(byte instruction) => Refuses($"the instruction 0x{instruction:x2}", p => p.Raw((byte)'(', instruction));

    [TestCase(7, 0, new long[] { 7 }, new long[] { 1 }, "expected 7 elements of F32 in its storage, found 24 bytes")]
    [TestCase(6, 1, new long[] { 6 }, new long[] { 1 }, "reaches element 6 of a storage of 6")]
    [TestCase(6, 0, new long[] { 2 }, new long[] { 6 }, "reaches element 6 of a storage of 6")]
    [TestCase(6, -1, new long[] { 2 }, new long[] { 1 }, "negative")]
    [TestCase(6, 0, new long[] { 2 }, new long[] { -1 }, "negative")]
    [TestCase(6, 0, new long[] { -2 }, new long[] { 1 }, "negative")]
    [TestCase(6, 0, new long[] { 2 }, new long[] { 1, 1 }, "as many strides as dimensions")]
    [TestCase(6, 0, new long[] { 1L << 40 }, new long[] { 0 }, "shows the 6 elements of its storage as")]
    [TestCase(6, 0, new long[] { long.MaxValue, long.MaxValue }, new long[] { 0, 0 }, "larger than any file")]
    [TestCase(6, 0, new long[] { 2 }, new long[] { long.MaxValue }, "reaches element")]
    [TestCase(6, 0, new long[] { 3 }, new long[] { long.MaxValue }, "larger than any file")]
    public void Views_outside_their_storage_are_refused(long elements, long offset, long[] shape, long[] strides, string says)
    {
        TorchFile file = new();
        file.Pickle.Dictionary(("w", p => p.Tensor("FloatStorage", file.Storage(Singles(1, 2, 3, 4, 5, 6)), elements, offset, shape, strides)));
        Assert.That(() => Open(file), Refused(says).And.Message.Contains("'w'"));
    }

    [Test]
    public void Archives_that_are_not_as_PyTorch_writes_them_are_refused()
    {
        TorchFile missing = new(), big = new() { ByteOrder = "big" }, compressed = new() { Compressed = true };
        missing.Pickle.Dictionary(("w", p => p.Tensor("FloatStorage", "5", 1, 0, [1], [1])));
        big.Pickle.Dictionary();
        compressed.Pickle.Dictionary(("w", p => p.Tensor("FloatStorage", compressed.Storage(new byte[4000]), 1000, 0, [1000], [1])));
        Assert.That(() => Open(missing), Refused("its storage '5' is missing"));
        Assert.That(() => Open(big), Refused("expected little, found big"));
        Assert.That(() => Open(compressed), Refused("compressed"));
        Assert.That(() => TorchArchive.Open(_folder.Write("zip.ckpt", [(byte)'P', (byte)'K', 5, 6, .. new byte[18]])), Refused("data.pkl"));
        Assert.That(() => TorchArchive.Open(_folder.Write("old.ckpt", [0x80, 2, 0x8a, 10])), Refused("before 1.6"));
        Assert.That(() => TorchArchive.Open(_folder["none.ckpt"]), Refused("no such file"));
    }

    [Test]
    public void Small_files_do_not_become_large()
    {
        Refuses("found more", Nested(100), "levels");
        // Each list holds the one before it twice: 2^28 values.
        Refuses("found more", p =>
        {
            p.Raw((byte)']', (byte)'q', 0, (byte)'0');
            for (byte i = 1; i <= 28; i++) p.Raw((byte)']', (byte)'(', (byte)'h', (byte)(i - 1), (byte)'h', (byte)(i - 1), (byte)'e', (byte)'q', i, (byte)'0');
            p.Raw((byte)'h', 28);
        }, "doubled");
        Refuses("ends early", p => p.Raw((byte)'X', 0xff, 0xff, 0xff, 0x7f), "a text longer than the file");
        Refuses("ends early", p => p.Raw(0x8e, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "bytes longer than any file");

        static Action<PickleWriter> Nested(int depth) => p =>
        {
            for (int i = 0; i < depth; i++) p.Raw((byte)']');
            for (int i = 0; i < depth - 1; i++) p.Raw((byte)'a');
        };
    }

    [Test]
    public void Damaged_archives_open_or_are_refused()
    {
        TorchFile file = new();
        file.Pickle.Dictionary(
            ("a", p => p.Tensor("FloatStorage", file.Storage(Singles(1, 2, 3, 4)), 4, 0, [2, 2], [1, 2])), ("b", p => p.Dictionary(("c", q => file.Tensor(q, new TensorInfo("", DType.F16, [3]), new byte[6])))));
        byte[] valid = file.ToArray();
        Gen<(int At, byte Value, int Kind)> mutation =
            from at in Gen.Choose(0, valid.Length - 1)
            from value in Gen.Choose(0, 255)
            from kind in Gen.Choose(0, 2)
            select (at, (byte)value, kind);
        Prop.ForAll(mutation.ListOf().ToArbitrary(), mutations =>
        {
            List<byte> bytes = [.. valid];
            foreach ((int at, byte value, int kind) in mutations.Take(4))
            {
                int place = Math.Min(at, bytes.Count - 1);
                if (kind == 0) bytes[place] = value;
                else if (kind == 1) bytes.Insert(place, value);
                else bytes.RemoveAt(place);
            }

            try
            {
                using TorchArchive archive = TorchArchive.Open(_folder.Write("damaged.ckpt", [.. bytes]));
                foreach ((string name, TensorInfo info) in archive.Tensors) Assert.That(archive.ReadBytes(name), Has.Length.EqualTo(info.ByteLength));
            }
            catch (ModelFormatException)
            {
                // The one error that is allowed.
            }

            return true;
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(2000).WithReplay(20240229, 7));
    }

    private void Refuses(string says, Action<PickleWriter> value, string? what = null)
    {
        TorchFile file = new();
        value(file.Pickle);
        Assert.That(() => Open(file), Refused(says), what ?? says);
    }

    private TorchArchive Open(TorchFile file) => TorchArchive.Open(file.Write(_folder["model.ckpt"]));

    private static Constraint Refused(string says) => Throws.TypeOf<ModelFormatException>().With.Message.Contains(says);

    private static byte[] Singles(params float[] values) => TensorConversion.FromSingles(DType.F32, values);
}
