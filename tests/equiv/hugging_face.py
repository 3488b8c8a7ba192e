#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as Hugging Face's models and back: the same loss, the same bytes, an independent reader,
and the published formulas of GPT-2 and Llama on what was exported."""
import json
import math
import os
import pathlib
import struct
import sys

import job

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / "build" / "venv" / "bin" / "python"
try:
    import numpy
    import safetensors.numpy
except ImportError:
    numpy = None
    # tests/run.sh puts both there
    if VENV.exists() and pathlib.Path(sys.prefix) != VENV.parents[1]:
        os.execv(VENV, [str(VENV), *sys.argv])

# Weights large enough that attention is far from even: a wrong layout changes the loss.
MODELS = {
    "gpt2": {"model.init_std": 0.2},
    "gpt2_untied": {"model.init_std": 0.2, "model.tied": False, "model.ffn": 96},
    "llama": {"model.family": "llama", "model.kv_heads": 2, "model.init_std": 0.2,
              "model.rope_theta": 500.0},
    "llama_tied": {"model.family": "llama", "model.tied": True, "model.kv_heads": 1,
                   "model.norm_epsilon": 1e-6, "model.init_std": 0.2},
}
BATCHES = 4


def trained(folder, name):
    """A short run of a model on two ranks that share each layer; its folder of checkpoints."""
    folder.write_spec(f"{name}.yaml", MODELS[name])
    folder.train(2, f"runs/{name}", "train.steps=3", "schedule.warmup=0",
                 "parallel.tensor=2", spec=f"{name}.yaml")
    return f"runs/{name}/ckpt"


def tool(folder, *arguments, code=0, parts=(), ranks=None):
    done = folder.run(ranks, *arguments)
    what = " ".join(map(str, arguments))
    assert done.code == code, f"{what}: code {code} was due: {done}"
    for part in parts:
        assert part in done.out + done.err, f"{what}: '{part}' is not said: {done}"
    return done


def export(folder, source, place, *more, **due):
    return tool(folder, "checkpoint", "export", source, place, *more, **due)


def import_(folder, source, place, *more, **due):
    return tool(folder, "checkpoint", "import", source, place, *more, **due)


def loss_of(folder, ckpt, *more, ranks=None):
    """The held-out loss, with all digits."""
    done = tool(folder, "eval", ckpt, "--json", "--batches", BATCHES, *more, ranks=ranks)
    return json.loads(done.out)["loss"]


def read_plain(path):
    """All tensors of a safetensors file: (type, shape, bytes). Knows nothing of the format's limits."""
    data = pathlib.Path(path).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"],
                   data[8 + length + entry["data_offsets"][0]:8 + length + entry["data_offsets"][1]])
            for name, entry in header.items()}


def write_plain(path, tensors):
    header, at = {}, 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values()))


def round_trip(folder):
    """Export and import of all models, in one file and in many: the loss has the same bits, and a second
    export the same bytes."""
    for name in MODELS:
        ckpt = trained(folder, name)
        before = loss_of(folder, ckpt)
        export(folder, ckpt, f"out/{name}")
        export(folder, ckpt, f"out/{name}_many", "--shard-bytes", "20 KB")
        files = sorted(p.name for p in (folder.path / f"out/{name}_many").glob("*.safetensors"))
        assert len(files) > 5 and files[0] == f"model-00001-of-{len(files):05d}.safetensors", files
        for kind in ("", "_many"):
            import_(folder, f"out/{name}{kind}", f"in/{name}{kind}", "--spec", f"{name}.yaml")
            after = loss_of(folder, f"in/{name}{kind}")
            assert after == before, f"{name}{kind}: the loss is {after}, was {before}"
        export(folder, f"in/{name}_many", f"again/{name}", ranks=2)
        one, two = ((folder.path / p / "model.safetensors").read_bytes()
                    for p in (f"out/{name}", f"again/{name}"))
        assert one == two, f"{name}: the second export differs"
        whole = read_plain(folder.path / f"out/{name}/model.safetensors")
        parts = {}
        for file in files:
            parts.update(read_plain(folder.path / f"out/{name}_many" / file))
        assert parts == whole, f"{name}: the parts differ from the whole"
        assert ("lm_head.weight" in whole) == ("untied" in name or name == "llama"), sorted(whole)
        tool(folder, "checkpoint", "verify", f"in/{name}")
        tool(folder, "generate", f"in/{name}", "--tokens", 4)
    # without a job: made from config.json, data given on the command line
    import_(folder, "out/llama", "in/bare", "data.validation=text.txt", "batch.sequences=8",
            "batch.micro=2")
    bare, same = loss_of(folder, "in/bare"), loss_of(folder, "in/llama", "--data", "text.txt")
    assert bare == same, f"made from config.json alone: {bare}, with its job: {same}"


def names(folder):
    """What others write: base models without prefix, mask and frequency buffers, a tied head that is there
    all the same, bf16 and fp16 weights."""
    for name, prefix, buffer in (("gpt2", "transformer.", "h.0.attn.bias"),
                                 ("llama_tied", "model.", "layers.1.self_attn.rotary_emb.inv_freq")):
        ckpt = trained(folder, name)
        want = loss_of(folder, ckpt)
        export(folder, ckpt, f"out/{name}")
        tensors = read_plain(folder.path / f"out/{name}/model.safetensors")
        base = {key.removeprefix(prefix): value for key, value in tensors.items()}
        base[buffer] = ("F32", [2, 2], bytes(16))
        embedding = tensors[prefix + ("wte.weight" if name == "gpt2" else "embed_tokens.weight")]
        tied = dict(tensors, **{"lm_head.weight": embedding})
        config = (folder.path / f"out/{name}/config.json").read_text()
        for kind, content in (("base", base), ("tied", tied)):
            place = folder.path / f"made/{name}_{kind}"
            write_plain(place / "model.safetensors", content)
            (place / "config.json").write_text(config)
            import_(folder, place, f"in/{name}_{kind}", "--spec", f"{name}.yaml")
            assert loss_of(folder, f"in/{name}_{kind}") == want, f"{name}, {kind}: another loss"
        wrong = dict(tensors, **{"lm_head.weight": (*embedding[:2], bytes(len(embedding[2])))})
        write_plain(place / "model.safetensors", wrong)
        import_(folder, place, "in/wrong", code=2, parts=["lm_head.weight", "but they differ"])
        for dtype in ("bf16", "fp16"): # what they hold is kept exactly
            export(folder, ckpt, f"out/{name}_{dtype}", "--dtype", dtype)
            import_(folder, f"out/{name}_{dtype}", f"in/{name}_{dtype}", "--spec", f"{name}.yaml")
            export(folder, f"in/{name}_{dtype}", f"again/{name}_{dtype}", "--dtype", dtype)
            a, b = ((folder.path / p / "model.safetensors").read_bytes()
                    for p in (f"out/{name}_{dtype}", f"again/{name}_{dtype}"))
            assert a == b, f"{name}: {dtype} there and back differs"
            near = loss_of(folder, f"in/{name}_{dtype}")
            assert near != want and abs(near - want) < 0.02 * want, f"{dtype}: {near} for {want}"


def begins(folder):
    """A job that begins with an imported checkpoint has the curve of one that begins with the original."""
    for name in ("gpt2", "llama"):
        ckpt = trained(folder, name)
        export(folder, ckpt, f"out/{name}")
        import_(folder, f"out/{name}", f"in/{name}") # its job is made from config.json
        curves = [folder.train(2, f"runs/{name}_{i}", "train.steps=5", "parallel.zero=3",
                               f"checkpoint.init_from={start}", spec=f"{name}.yaml")
                  for i, start in enumerate((ckpt, f"in/{name}"))]
        one, two = ([(step["loss"], step["grad_norm"]) for step in curve] for curve in curves)
        assert one == two and len(one) == 5, f"{name}: {one} {two}"


MULTIPLIED = {"model.parameterization": "mup", "model.base_hidden": 24,
              "model.embedding_multiplier": 1.3, "model.attention_multiplier": 3.0,
              "model.output_multiplier": 1.7}


def folded(folder):
    """A model with multipliers is exported as one without, which has the same loss; the spec of the first is
    not that of the second."""
    for name, keys in MODELS.items():
        folder.write_spec("plain.yaml", keys)
        keys.update(MULTIPLIED)
        ckpt = trained(folder, name)
        export(folder, ckpt, f"out/{name}")
        import_(folder, f"out/{name}", f"in/{name}", "--spec", "plain.yaml")
        one, two = (loss_of(folder, path) for path in (ckpt, f"in/{name}"))
        assert abs(one - two) < 2e-6 * one, f"{name}: {one} {two}"
        tool(folder, "checkpoint", "import", f"out/{name}", f"in/{name}_2", "--spec", f"{name}.yaml",
             code=2, parts=["model.parameterization mup with multipliers 1.3 of the embedding"])


CHANGES = {
    "gpt2": [({"activation_function": "gelu"}, "activation_function"),
             ({"activation_function": "relu"}, "activation_function"),
             ({"scale_attn_weights": False}, "scale_attn_weights"),
             ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
             ({"add_cross_attention": True}, "add_cross_attention"),
             ({"quantization_config": {"bits": 4}}, "quantization_config"),
             ({"pruned_heads": {"0": [1]}}, "pruned_heads"),
             ({"n_layer": 3}, "lacks 12 of"),
             ({"n_layer": 1}, "has 12 tensor(s)"),
             ({"n_layer": 2.5}, "n_layer is 2.5"),
             ({"n_embd": 65}, "heads"),
             ({"n_inner": 128}, "mlp.c_fc"),
             ({"n_positions": 16}, "wpe.weight"),
             ({"vocab_size": 250}, "shape [256, 64], config.json asks for [250, 64]"),
             ({"model_type": "bert"}, "'bert'"),
             ({"alibi": True}, "'alibi'")],
    "llama": [({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
              ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_scaling"),
              ({"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters"),
              ({"attention_bias": True}, "attention_bias"),
              ({"mlp_bias": True}, "mlp_bias"),
              ({"hidden_act": "gelu"}, "hidden_act"),
              ({"sliding_window": 16}, "sliding_window"),
              ({"head_dim": 32}, "head_dim"),
              ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
              ({"tie_word_embeddings": True}, "lm_head.weight"),
              ({"rms_norm_eps": 0}, "rms_norm_eps"),
              ({"num_key_value_heads": 4}, "k_proj"),
              ({"max_position_embeddings": 1 << 60}, "max_position_embeddings")],
}
FINE = {
    "gpt2": [{"activation_function": "gelu_pytorch_tanh"}, {"n_ctx": 32}, {"_name_or_path": "x"},
             {"n_inner": None}, {"reorder_and_upcast_attn": True}, {"resid_pdrop": 0.1}],
    "llama": [{"rope_scaling": {"rope_type": "default"}}, {"head_dim": None},
              {"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}, "rope_theta": None},
              {"max_position_embeddings": 64}, {"pretraining_tp": 2}],
}


def refused(folder):
    """Keys of config.json that change the mathematics, by name; specs that are not of the config; folders
    that are in use; a file that was cut."""
    for name, cases in CHANGES.items():
        ckpt = trained(folder, name)
        export(folder, ckpt, f"out/{name}")
        place = folder.path / f"out/{name}"
        config = json.loads((place / "config.json").read_text())
        for change, part in cases:
            (place / "config.json").write_text(json.dumps({**config, **change}))
            done = folder.run(None, "checkpoint", "import", place, "in/no")
            assert done.code in (1, 2) and part in done.err, f"{change}: {done}"
            assert not (folder.path / "in/no").exists(), f"{change}: in/no was made"
        for i, change in enumerate(FINE[name]):
            (place / "config.json").write_text(json.dumps({**config, **change}))
            import_(folder, place, f"in/{name}{i}", "--spec", f"{name}.yaml")
        (place / "config.json").write_text(json.dumps({**config, "alibi": True}))
        import_(folder, place, f"in/{name}_ignored", "--ignore", "alibi")
        (place / "config.json").write_text(json.dumps(config))
    import_(folder, "out/gpt2", "in/no", "--spec", "llama.yaml", code=2, parts=["model_type gpt2"])
    import_(folder, "out/gpt2", "in/no", "--spec", "gpt2.yaml", "model.layers=3", code=2,
            parts=["model.layers is 3", "n_layer of config.json is 2"])
    import_(folder, "out/gpt2", "in/no", "model.context=16", code=2, parts=["n_positions"])
    import_(folder, "out/llama", "in/shorter", "model.context=16")
    import_(folder, "out/gpt2", "in/gpt20", code=2, parts=["has checkpoints already"])
    import_(folder, "out/nothing", "in/no", code=1, parts=["config.json"])
    export(folder, "runs/gpt2", "out/gpt2", code=2, parts=["is not empty"])
    export(folder, "runs/gpt2", "out/x", "--dtype", "int32", code=2, parts=["fp32, bf16 or fp16"])
    export(folder, "runs/gpt2", "out/x", "--shard-bytes", "5 apples", code=2, parts=["5 apples"])
    export(folder, "runs/none", "out/x", code=1, parts=["runs/none"])
    (folder.path / "out/y.tmp").mkdir()
    export(folder, "runs/gpt2", "out/y", code=2, parts=["out/y.tmp is there"])
    file = folder.path / "out/gpt2/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    import_(folder, "out/gpt2", "in/no", code=1, parts=["not within"], ranks=2)
    assert not (folder.path / "in/no").exists() and not (folder.path / "out/x").exists()


def need_numpy():
    if numpy is None:
        raise job.Skip("Python's numpy and safetensors are not here: tests/run.sh installs them")


def reader(folder):
    """The safetensors package reads what export writes, and import reads what it writes."""
    need_numpy()
    for name in ("gpt2_untied", "llama"):
        ckpt = trained(folder, name)
        export(folder, ckpt, f"out/{name}")
        export(folder, ckpt, f"out/{name}_many", "--shard-bytes", "20KB")
        whole = safetensors.numpy.load_file(folder.path / f"out/{name}/model.safetensors")
        index = json.loads((folder.path / f"out/{name}_many/model.safetensors.index.json").read_text())
        parts = {}
        for file in set(index["weight_map"].values()):
            found = safetensors.numpy.load_file(folder.path / f"out/{name}_many" / file)
            assert all(index["weight_map"][key] == file for key in found), file
            parts.update(found)
        assert set(parts) == set(whole) == set(index["weight_map"]), "other tensors"
        assert index["metadata"]["total_size"] == sum(x.nbytes for x in whole.values()), index
        for key, value in whole.items():
            assert value.dtype == numpy.float32 and (parts[key] == value).all(), key
        # theirs, with other values, in two files
        chance = numpy.random.default_rng(3)
        made = {key: chance.standard_normal(x.shape, dtype=numpy.float32) for key, x in whole.items()}
        place = folder.path / f"made/{name}"
        place.mkdir(parents=True)
        keys = sorted(made)
        halves = {"model-00001-of-00002.safetensors": keys[::2],
                  "model-00002-of-00002.safetensors": keys[1::2]}
        for file, own in halves.items():
            safetensors.numpy.save_file({key: made[key] for key in own}, place / file,
                                        metadata={"format": "pt"})
        weight_map = {key: file for file, own in halves.items() for key in own}
        (place / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {"total_size": 0}, "weight_map": weight_map}))
        (place / "config.json").write_text((folder.path / f"out/{name}/config.json").read_text())
        import_(folder, place, f"in/{name}")
        export(folder, f"in/{name}", f"again/{name}")
        again = safetensors.numpy.load_file(folder.path / f"again/{name}/model.safetensors")
        assert set(again) == set(made), "other tensors"
        for key, value in made.items():
            assert (again[key] == value).all(), f"{name}: {key} came back otherwise"


def attention(q, k, v):
    """Causal attention of one head: [T, D] each."""
    scores = q @ k.T / math.sqrt(q.shape[1])
    scores[numpy.triu_indices(len(q), 1)] = -numpy.inf
    weights = numpy.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True) @ v


def gpt2_logits(config, w, ids, turned=False):
    """GPT2LMHeadModel: Conv1D is x W + b with W [in, out]."""
    def norm(x, name):
        mean, variance = x.mean(1, keepdims=True), x.var(1, keepdims=True)
        x = (x - mean) / numpy.sqrt(variance + config["layer_norm_epsilon"])
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def conv1d(x, name):
        weight = w[f"{name}.weight"]
        return x @ (weight.T if turned and weight.shape[0] == weight.shape[1] else weight) + \
            w[f"{name}.bias"]

    width, heads = config["n_embd"], config["n_head"]
    size = width // heads
    x = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][:len(ids)]
    for layer in range(config["n_layer"]):
        block = f"transformer.h.{layer}"
        q, k, v = numpy.split(conv1d(norm(x, f"{block}.ln_1"), f"{block}.attn.c_attn"), 3, axis=1)
        parts = [attention(*(y[:, h * size:(h + 1) * size] for y in (q, k, v))) for h in range(heads)]
        x = x + conv1d(numpy.concatenate(parts, 1), f"{block}.attn.c_proj")
        y = conv1d(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
        y = 0.5 * y * (1 + numpy.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y ** 3)))
        x = x + conv1d(y, f"{block}.mlp.c_proj")
    head = w["transformer.wte.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return norm(x, "transformer.ln_f") @ head.T


def llama_logits(config, w, ids, turned=False):
    """LlamaForCausalLM: rotate_half on the two halves of each head (turned: on neighbours)."""
    def norm(x, name):
        return x / numpy.sqrt((x ** 2).mean(1, keepdims=True) + config["rms_norm_eps"]) * \
            w[f"{name}.weight"]

    def rotate(x):
        size = x.shape[1]
        inverse = 1.0 / config["rope_theta"] ** (numpy.arange(0, size, 2) / size)
        angle = numpy.arange(len(x))[:, None] * inverse
        if turned:
            a, b = x[:, 0::2], x[:, 1::2]
            out = numpy.empty_like(x)
            out[:, 0::2] = a * numpy.cos(angle) - b * numpy.sin(angle)
            out[:, 1::2] = b * numpy.cos(angle) + a * numpy.sin(angle)
            return out
        angle = numpy.concatenate([angle, angle], 1)
        half = numpy.concatenate([-x[:, size // 2:], x[:, :size // 2]], 1)
        return x * numpy.cos(angle) + half * numpy.sin(angle)

    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    size = config["hidden_size"] // heads
    x = w["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        block = f"model.layers.{layer}"
        y = norm(x, f"{block}.input_layernorm")
        q, k, v = (y @ w[f"{block}.self_attn.{p}_proj.weight"].T for p in "qkv")
        parts = []
        for h in range(heads):
            g = h // (heads // kv_heads)
            parts.append(attention(rotate(q[:, h * size:(h + 1) * size]),
                                   rotate(k[:, g * size:(g + 1) * size]),
                                   v[:, g * size:(g + 1) * size]))
        x = x + numpy.concatenate(parts, 1) @ w[f"{block}.self_attn.o_proj.weight"].T
        y = norm(x, f"{block}.post_attention_layernorm")
        gate = y @ w[f"{block}.mlp.gate_proj.weight"].T
        up = y @ w[f"{block}.mlp.up_proj.weight"].T
        x = x + (gate / (1 + numpy.exp(-gate)) * up) @ w[f"{block}.mlp.down_proj.weight"].T
    head = w["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return norm(x, "model.norm") @ head.T


def mean_loss(logits_of, config, weights, data, length, samples, **how):
    total = 0.0
    for s in range(samples):
        ids = data[s * length:s * length + length + 1]
        logits = logits_of(config, weights, ids[:-1], **how)
        top = logits.max(1)
        total += (numpy.log(numpy.exp(logits - top[:, None]).sum(1)) + top -
                  logits[numpy.arange(length), ids[1:]]).sum()
    return total / (samples * length)


def forward(folder):
    """The published formulas, in float64, on the exported weights: the loss of `trireme eval` to 1e-5.
    With the rotary pairs or the square matrices the other way round it is another."""
    need_numpy()
    text = (folder.path / "text.txt").read_bytes()[-20000:]
    (folder.path / "held.txt").write_bytes(text)
    data = numpy.frombuffer(text, dtype=numpy.uint8).astype(numpy.int64)
    for name in MODELS:
        ckpt = trained(folder, name)
        want = loss_of(folder, ckpt, "--data", "held.txt")
        export(folder, ckpt, f"out/{name}")
        config = json.loads((folder.path / f"out/{name}/config.json").read_text())
        tensors = safetensors.numpy.load_file(folder.path / f"out/{name}/model.safetensors")
        weights = {key: value.astype(numpy.float64) for key, value in tensors.items()}
        logits_of = gpt2_logits if config["model_type"] == "gpt2" else llama_logits
        length = config.get("n_positions") or config["max_position_embeddings"]
        samples = BATCHES * job.SPEC["batch"]["sequences"]
        got = mean_loss(logits_of, config, weights, data, length, samples)
        assert abs(got - want) <= 1e-5 * want, f"{name}: the formulas give {got}, eval {want}"
        other = mean_loss(logits_of, config, weights, data, length, samples, turned=True)
        assert abs(other - want) > 1e-3 * want, f"{name}: the test would not see another layout"
        print(f"     {name}: formulas {got:.9f}, eval {want:.9f}, another layout {other:.4f}")


def peak_bytes(folder, *arguments):
    """Run alone; its largest resident memory."""
    process = folder.start(None, *arguments)
    _, status, usage = os.wait4(process.pid, 0)
    out, err = process.stdout.read(), process.stderr.read()
    assert os.waitstatus_to_exitcode(status) == 0, f"{arguments}: {out}{err}"
    process.returncode = 0
    return usage.ru_maxrss * 1024


def streams(folder):
    """A model of 1.2 GB passes through less than 256 MB, both ways; a small one shows what the program
    needs anyhow."""
    layers, width, vocab = 2, 4096, 256
    sizes = {}
    for key in ("q_proj", "o_proj"):
        sizes[f"self_attn.{key}"] = [width, width]
    for key in ("k_proj", "v_proj"):
        sizes[f"self_attn.{key}"] = [width // 4, width]
    for key in ("gate_proj", "up_proj"):
        sizes[f"mlp.{key}"] = [8192, width]
    sizes["mlp.down_proj"] = [width, 8192]
    shapes = {"model.embed_tokens.weight": [vocab, width], "model.norm.weight": [width],
              "lm_head.weight": [vocab, width]}
    for layer in range(layers):
        for key, shape in sizes.items():
            shapes[f"model.layers.{layer}.{key}.weight"] = shape
        for key in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"model.layers.{layer}.{key}.weight"] = [width]
    header, at = {}, 0
    for key, shape in shapes.items():
        n = 4 * math.prod(shape)
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + n]}
        at += n
    place = folder.path / "big"
    place.mkdir()
    with open(place / "model.safetensors", "wb") as file:
        text = json.dumps(header).encode()
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at) # a file with holes: zeros
    config = {"model_type": "llama", "num_hidden_layers": layers, "hidden_size": width,
              "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 8192,
              "max_position_embeddings": 128, "vocab_size": vocab}
    (place / "config.json").write_text(json.dumps(config))
    limit = 256e6
    peak = peak_bytes(folder, "checkpoint", "import", "big", "in/big")
    assert peak < limit < at, f"import of {at / 1e6:.0f} MB took {peak / 1e6:.0f} MB"
    back = peak_bytes(folder, "checkpoint", "export", "in/big", "out/big", "--dtype", "bf16")
    assert back < limit, f"export of {at / 1e6:.0f} MB took {back / 1e6:.0f} MB"
    print(f"     {at / 1e6:.0f} MB of weights: import {peak / 1e6:.0f} MB, export {back / 1e6:.0f} MB")


if __name__ == "__main__":
    sys.exit(job.main({"round_trip": round_trip, "names": names, "begins": begins, "folded": folded,
                       "refused": refused, "reader": reader, "forward": forward,
                       "streams": streams}, __doc__))
