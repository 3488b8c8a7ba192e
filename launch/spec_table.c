// SPDX-License-Identifier: Apache-2.0
/* One row per key of a job spec. A key is added here and in tri_spec, nowhere else; the order is that
 * of the dump and of docs/job-spec.md.
 */
#include "launch/spec_table.h"

#include "optim/rules.h"
#include "parallel/context.h"
#include "parallel/schedule.h"

enum {
    ABOVE = TRI_FIELD_ABOVE,
    BELOW = TRI_FIELD_BELOW,
    FIXED = TRI_FIELD_FIXED,
    EMPTY = TRI_FIELD_MAY_EMPTY,
    AUTO = TRI_FIELD_AUTO /* stores 0 */
};

/* parallel.zero is one key of four numbers. */
_Static_assert(offsetof(tri_spec, parallel.zero) ==
                   offsetof(tri_spec, parallel.zero_stage) + sizeof(int),
               "the groups lie behind the stage");

#define PLACE(member) offsetof(tri_spec, member), sizeof(((tri_spec *)NULL)->member)
#define NUMBER(id, member, initial, min, max, flags, unit, doc)                                    \
    {                                                                                              \
#member, TRI_FIELD_##id, PLACE(member), initial, min, max, flags, 0, unit, doc, NULL, NULL \
    }
#define PAIR(member, initial, min, max, flags, doc)                                             \
    {                                                                                           \
#member, TRI_FIELD_DOUBLE2, PLACE(member), initial, min, max, (flags) | TRI_FIELD_AUTO, \
            -1, NULL, doc, NULL, NULL                                                           \
    }
#define TEXTS(member, flags, doc)                                                          \
    {                                                                                      \
#member, TRI_FIELD_TEXTS, PLACE(member), "", 0, 0, flags, 0, NULL, doc, NULL, NULL \
    }
#define WORD(id, member, initial, flags, doc)                                                  \
    {                                                                                          \
#member, TRI_FIELD_##id, PLACE(member), initial, 0, 0, flags, 0, NULL, doc, NULL, NULL \
    }
#define CHOICE(member, initial, choices, flags, doc)                                           \
    {                                                                                          \
#member, TRI_FIELD_CHOICE, PLACE(member), initial, 0, 0, flags, 0, NULL, doc, choices, \
            NULL                                                                               \
    }
#define NONE(member, min, max, flags, doc)                                                     \
    {                                                                                          \
#member, TRI_FIELD_INT, PLACE(member), "none", min, max, (flags) | TRI_FIELD_NONE, -1, \
            NULL, doc, NULL, NULL                                                              \
    }
#define ENUM(member, initial, choices, values, doc)                                             \
    {                                                                                           \
#member, TRI_FIELD_ENUM, PLACE(member), initial, 0, 0, 0, 0, NULL, doc, choices, values \
    }
#define SWITCH(member, initial, flags, automatic, doc)                                            \
    {                                                                                             \
#member, TRI_FIELD_BOOL, PLACE(member), initial, 0, 0, flags, automatic, NULL, doc, NULL, \
            NULL                                                                                  \
    }

static const char *const *scales(void)
{
    static const char *const names[] = {"linear", "sqrt", NULL};
    return names;
}

static const char *const *formats(void)
{
    static const char *const names[] = {"text", "uint16", "llmc", "megatron", "hdf5", NULL};
    return names;
}

static const char *const *tokenizers(void)
{
    static const char *const names[] = {"bytes", NULL};
    return names;
}

static const char *const *precisions(void)
{
    static const char *const names[] = {"fp32", "bf16", NULL};
    return names;
}

static const char *const *recomputations(void)
{
    static const char *const names[] = {"none", "selective", "full", NULL};
    return names;
}

static const char *const *weight_codes(void)
{
    static const char *const names[] = {"none", "int8", NULL};
    return names;
}

static const char *const *gradient_codes(void)
{
    static const char *const names[] = {"none", "int8", "int4", NULL};
    return names;
}

static const char *const *restores(void)
{
    static const char *const names[] = {"restore", "fresh", NULL};
    return names;
}

static const char *const *shard_files(void)
{
    static const char *const names[] = {"rank", "node", NULL};
    return names;
}

static const char *const *policies(void)
{
    static const char *const names[] = {"stop", "skip", "rollback", NULL};
    return names;
}

static const int in_order[] = {0, 1, 2, 3, 4, 5};
static const int scale_values[] = {TRI_RULES_LINEAR, TRI_RULES_SQRT};
static const int precision_values[] = {TRI_F32, TRI_BF16};

static const tri_field spec_fields[] = {
    WORD(NAME, name, NULL, FIXED, "Name of the run; its folder is runs/NAME."),
    NUMBER(UINT64, seed, "1", 0, 0, FIXED, NULL,
           "Seed of initial weights, data order and dropout."),
    ENUM(precision, "fp32", precisions, precision_values,
         "Activations and matrix products; sums, gradients and master weights are always fp32."),
    CHOICE(model.family, NULL, tri_model_families, FIXED, "Kind of model."),
    NUMBER(INT64, model.layers, NULL, 1, 10000, FIXED, NULL, "Transformer blocks."),
    NUMBER(INT64, model.hidden, NULL, 1, 1048576, FIXED, NULL,
           "Width of the residual stream; heads divide it."),
    NUMBER(INT64, model.heads, NULL, 1, 65536, FIXED, NULL, "Attention heads (of queries)."),
    NUMBER(INT64, model.kv_heads, "auto", 1, 65536, FIXED | AUTO, NULL,
           "Heads of keys and values (llama); they divide heads. auto: as heads."),
    NUMBER(INT64, model.ffn, "auto", 1, 16777216, FIXED | AUTO, NULL,
           "Width of the MLP. auto: 4 hidden (gpt2), 8/3 hidden rounded up to 64 (llama)."),
    NUMBER(INT64, model.context, NULL, 1, 16777216, FIXED, "tokens",
           "Length of a training sequence, and number of positions."),
    NUMBER(INT64, model.vocab, "auto", 2, 16777216, FIXED | AUTO, NULL,
           "Number of token ids. auto: 256 for the tokenizer bytes; else it must be given. "
           "checkpoint.resize_vocab lets it change."),
    SWITCH(model.tied, "auto", FIXED | AUTO, -1,
           "The head shares the token embedding. auto: true for gpt2, false for llama."),
    NUMBER(DOUBLE, model.dropout, "0", 0, 1, BELOW, NULL,
           "Probability of dropping an element (gpt2)."),
    NUMBER(DOUBLE, model.rope_theta, "10000", 0, 1e12, FIXED | ABOVE, NULL,
           "Base of the rotary embedding (llama)."),
    NUMBER(DOUBLE, model.norm_epsilon, "1e-5", 0, 1, FIXED | ABOVE, NULL,
           "Added to variances in norms."),
    NUMBER(DOUBLE, model.init_std, "0.02", 0, 10, FIXED, NULL,
           "Deviation of initial weights; residual projections get init_std / sqrt(2 layers). With "
           "mup, matrices between hidden layers get it times sqrt(base_hidden / hidden); umup does "
           "not "
           "look at it."),
    CHOICE(
        model.parameterization, "standard", tri_model_parameterizations, FIXED,
        "How start values, multipliers and learning rates depend on the width: standard, not; "
        "mup: so that a learning rate found at width base_hidden serves all widths; umup: so that "
        "all begins with deviation 1 and a rate near 1 serves all widths and depths (llama)."),
    NUMBER(INT64, model.base_hidden, "auto", 1, 1048576, FIXED | AUTO, NULL,
           "mup: the width at which optimizer.lr and model.init_std were found; standard does not "
           "look at it."),
    NUMBER(DOUBLE, model.embedding_multiplier, "1", 0, 1e6, FIXED | ABOVE, NULL,
           "Multiplies what goes into the first block."),
    NUMBER(DOUBLE, model.attention_multiplier, "1", 0, 1e6, FIXED | ABOVE, NULL,
           "Multiplies the scores of attention, which are products of queries and keys / "
           "sqrt(head size), with mup and umup / head size."),
    NUMBER(DOUBLE, model.output_multiplier, "1", 0, 1e6, FIXED | ABOVE, NULL,
           "Multiplies the logits, which mup divides by hidden / base_hidden, umup by hidden."),
    NUMBER(DOUBLE, model.residual_multiplier, "1", 0, 1e6, FIXED | ABOVE, NULL,
           "umup: size of what the branches add to the stream, against the embedding's."),
    NUMBER(DOUBLE, model.residual_ratio, "1", 0, 1e6, FIXED | ABOVE, NULL,
           "umup: size of attention's branches against the MLP's."),
    WORD(PATH, data.train, NULL, 0, "File, or glob of shards, to train on."),
    WORD(PATH, data.validation, "", EMPTY,
         "File or glob to evaluate on. Empty: the last part of train."),
    CHOICE(data.format, "text", formats, FIXED,
           "text; uint16: raw token ids; llmc: llm.c's .bin; megatron: .bin and .idx; hdf5."),
    CHOICE(data.tokenizer, "bytes", tokenizers, FIXED, "How the format text becomes tokens."),
    WORD(TEXT, data.dataset, "", EMPTY | FIXED, "Name of the dataset (hdf5)."),
    NUMBER(DOUBLE, data.holdout, "0.05", 0, 1, FIXED | BELOW, NULL,
           "Share of train, at its end, that is kept for evaluation."),
    NONE(data.separator, 0, 16777215, FIXED,
         "Token id that ends a document: attention stays within documents, and positions start "
         "again. none: a sequence is one document."),
    NUMBER(INT64, batch.sequences, NULL, 1, 1e9, 0, "sequences",
           "Global batch of one step, over all ranks."),
    NUMBER(INT64, batch.micro, NULL, 1, 1e6, 0, "sequences",
           "What a model replica takes through one forward and backward pass."),
    ENUM(batch.adaptive.test, "off", tri_batch_tests, in_order,
         "What lets the batch grow from batch.sequences on: off; norm, inner_product, augmented: a "
         "test of the gradient's noise against its length; coordinate: of each coordinate (adagrad "
         "and its kin); noise_scale: the gradient noise scale itself (docs/batch.md)."),
    NUMBER(INT, batch.adaptive.groups, "4", TRI_BATCH_MIN_GROUPS, TRI_BATCH_MAX_GROUPS, 0, "groups",
           "Groups of samples whose mean gradients a test compares."),
    NUMBER(INT64, batch.adaptive.quantum, "0", 0, 1e9, 0, "sequences",
           "The batch is a multiple of it at all times, on a ramp, too; 0: batch.sequences."),
    NUMBER(INT64, batch.adaptive.max, "0", 0, 1e9, 0, "sequences",
           "Largest batch; must be given with a test."),
    NUMBER(INT64, batch.adaptive.interval, "10", 1, 1e12, 0, "steps", "Time between tests."),
    NUMBER(DOUBLE, batch.adaptive.eta, "0.25", 0, 1, ABOVE | BELOW, NULL,
           "Noise that norm and coordinate allow, as a share of the gradient's length; smaller: "
           "larger batches."),
    NUMBER(DOUBLE, batch.adaptive.theta, "0.5", 0, 1000, ABOVE, NULL,
           "The same along the gradient (inner_product, augmented)."),
    NUMBER(DOUBLE, batch.adaptive.nu, "1", 0, 1000, ABOVE, NULL,
           "The same across the gradient (augmented)."),
    NUMBER(DOUBLE, batch.adaptive.growth, "2", 1, 1e6, ABOVE, NULL,
           "Largest factor by which one test lets the batch grow; one quantum is always allowed."),
    NUMBER(DOUBLE, batch.adaptive.smoothing, "0", 0, 1, BELOW, NULL,
           "Weight of earlier tests in the averages that a test uses; 0: each stands alone."),
    ENUM(batch.adaptive.lr, "none", tri_batch_lrs, in_order,
         "How the learning rate follows the batch, on a ramp, too: by the factor batch / "
         "batch.sequences (linear), by its root (sqrt), or not."),
    NUMBER(INT64, batch.ramp.to, "0", 0, 1e9, 0, "sequences",
           "Batch at the end of a ramp that begins with batch.sequences; 0: no ramp."),
    NUMBER(INT64, batch.ramp.samples, "0", 0, 1e15, 0, "sequences",
           "Over which the ramp rises, evenly, in quanta."),
    NUMBER(INT, parallel.data, "auto", 1, 1e6, AUTO, "ranks",
           "Model replicas. auto: what the other axes leave of the ranks."),
    NUMBER(INT, parallel.tensor, "1", 1, 1e6, 0, "ranks", "Ranks that share each layer."),
    NUMBER(INT, parallel.pipeline, "1", 1, 1e6, 0, "ranks",
           "Ranks that share the layers of a model."),
    NUMBER(INT, parallel.context, "1", 1, 1e6, 0, "ranks", "Ranks that share each sequence."),
    NUMBER(INT, parallel.expert, "1", 1, 1, 0, "ranks", "Ranks that share the experts of a layer."),
    {"parallel.zero", TRI_FIELD_LEVEL3, offsetof(tri_spec, parallel.zero_stage), 4 * sizeof(int),
                                                                                               "1", 0, 3, 0, 0, NULL,
                                                                                               "What the data x context ranks share out: 0 nothing; 1 optimizer states; 2 gradients too; 3 "
     "weights too. A list: ranks that share [weights, gradients, optimizer states], each dividing "
     "the next.", NULL, NULL},
    NUMBER(DOUBLE, parallel.bucket_mb, "25", 0, 65536, ABOVE, "MiB",
           "Gradients that are reduced together, behind the backward pass."),
    NUMBER(INT, parallel.prefetch, "1", 0, 64, 0, "blocks",
           "Gathered blocks that are kept beside the one in use (zero: 3); 0: each is gathered "
           "when it is "
           "used, else the next one is gathered ahead of its use."),
    ENUM(parallel.quantize_weights, "none", weight_codes, in_order,
         "How shared weights travel: none as they are; int8 in blocks with a scale."),
    ENUM(parallel.quantize_gradients, "none", gradient_codes, in_order,
         "How gradients travel: none as fp32; int8, int4 in blocks with a scale."),
    CHOICE(parallel.schedule, "1f1b", tri_schedule_names, 0,
           "Order of the pipeline's work; `trireme check --schedule` draws it."),
    NUMBER(INT, parallel.chunks, "1", 1, 1024, 0, "pieces",
           "Pieces of the model on each pipeline rank (interleaved; zb_v: 2)."),
    SWITCH(parallel.tensor_sequence, "true", 0, 0,
           "Norms and residuals are shared out over the tensor axis, by rows."),
    NUMBER(INT, parallel.tensor_chunks, "1", 1, 64, 0, "pieces",
           "Pieces of a product, each of which overlaps with the collective of another."),
    ENUM(parallel.context_mode, "ring", tri_context_modes, in_order,
         "How attention sees the whole sequence: ring: keys and values travel; ulysses: heads are "
         "exchanged for tokens; allgather: all keys and values come together."),
    NUMBER(INT, parallel.ulysses, "1", 1, 1e6, 0, "ranks",
           "Neighbours of the context axis that exchange heads for tokens inside a ring."),
    ENUM(parallel.recompute, "none", recomputations, in_order,
         "Activations that backward makes again: none; selective: those of attention; full: all of "
         "a block but its input."),
    NUMBER(INT, parallel.recompute_layers, "auto", 1, 10000, AUTO, "blocks",
           "First blocks of each piece to which recompute applies. auto: all."),
    CHOICE(optimizer.name, "adamw", tri_optim_names, FIXED,
           "The update rule. checkpoint.optimizer: fresh lets it change."),
    NUMBER(DOUBLE, optimizer.lr, NULL, 0, 1000, ABOVE, NULL, "Peak learning rate."),
    PAIR(optimizer.betas, "auto", 0, 1, BELOW,
         "Decay of the first and second moment. auto: the optimizer's own (adamw: 0.9, 0.95)."),
    NUMBER(DOUBLE, optimizer.epsilon, "auto", 0, 1, AUTO, NULL,
           "Keeps quotients finite. auto: the optimizer's own (adamw: 1e-8)."),
    NUMBER(
        DOUBLE, optimizer.weight_decay, "0.1", 0, 1000, 0, NULL,
        "Of matrices and embeddings; decoupled, but added to the gradient by sgd, adam, adamax and "
        "adagrad."),
    NUMBER(DOUBLE, optimizer.momentum, "0", 0, 1, BELOW, NULL, "Of sgd and lars; 0: none."),
    SWITCH(optimizer.nesterov, "false", 0, 0, "Nesterov's momentum (sgd)."),
    ENUM(optimizer.moments, "fp32", precisions, precision_values,
         "Moments with a number for each weight; bf16 ones are rounded at random."),
    NUMBER(DOUBLE, optimizer.trust, "0.001", 0, 1000, ABOVE, NULL,
           "Length of a step as a share of that of the weights (lars)."),
    NUMBER(DOUBLE, optimizer.trust_max, "0", 0, 1e9, 0, NULL,
           "Largest ratio of the lengths of weights and step (lamb); 0: none."),
    NUMBER(DOUBLE, optimizer.initial, "0", 0, 1e9, 0, NULL,
           "What sums of squares begin with (adagrad and its kin)."),
    SWITCH(optimizer.relative_step, "false", 0, 0,
           "Steps are no larger than 1 / sqrt(step) (adafactor)."),
    SWITCH(optimizer.scale_parameter, "true", 0, 0,
           "Steps are as large as the tensor's weights (adafactor)."),
    NUMBER(DOUBLE, optimizer.update_clip, "1", 0, 1e9, ABOVE, NULL,
           "Largest root mean square of a step before it is scaled (adafactor)."),
    TEXTS(
        optimizer.groups, 0,
        "Parameters treated in their own way: \"PATTERN [lr FACTOR] [decay NUMBER] [adapt off]\"; "
        "the last pattern that matches a name counts."),
    NUMBER(DOUBLE, optimizer.clip, "1", 0, 1e9, 0, NULL,
           "Largest global norm of the gradient; 0: not clipped."),
    NUMBER(INT64, schedule.warmup, "0", 0, 1e12, 0, "steps",
           "Time over which the learning rate rises."),
    NUMBER(DOUBLE, schedule.warmup_share, "0", 0, 1, 0, NULL,
           "The same as a share of the phase's steps, in place of schedule.warmup."),
    CHOICE(schedule.decay, "cosine", tri_lr_decays, 0,
           "How it falls afterwards; wsd and inverse_sqrt have a cooldown at the end."),
    NUMBER(
        DOUBLE, schedule.final, "0.1", 0, 1, 0, NULL,
        "Last learning rate, as a share of the peak (constant, and inverse_sqrt without cooldown: "
        "unused)."),
    NUMBER(DOUBLE, schedule.power, "1", 0, 100, ABOVE, NULL, "Exponent of polynomial."),
    NUMBER(
        DOUBLE, schedule.cooldown, "auto", 0, 1, ABOVE | AUTO, NULL,
        "Share of the phase's steps, at its end, over which wsd and inverse_sqrt come down. auto: "
        "0.2 (wsd), none (inverse_sqrt)."),
    CHOICE(schedule.cooldown_shape, "linear", tri_lr_shapes, 0, "How they come down."),
    NUMBER(DOUBLE, schedule.rewarmup_at, "none", 0, 1, ABOVE | BELOW | TRI_FIELD_NONE, NULL,
           "Share of train.steps after which a second phase begins, with a warm-up and a decay of "
           "its own. none: one phase."),
    NUMBER(INT64, schedule.rewarmup, "0", 0, 1e12, 0, "steps", "Warm-up of the second phase."),
    NUMBER(DOUBLE, schedule.rewarmup_share, "0", 0, 1, 0, NULL,
           "The same as a share of that phase's steps."),
    NUMBER(DOUBLE, schedule.rewarmup_peak, "1", 0, 1000, ABOVE, NULL,
           "Peak of the second phase, as a share of the first one's."),
    NUMBER(INT64, schedule.scale_from, "none", 1, 1e9, TRI_FIELD_NONE, "sequences",
           "Batch for which optimizer.lr and shares of warm-up are meant: they are scaled to "
           "batch.sequences. none: they are meant for it."),
    ENUM(schedule.scale, "sqrt", scales, scale_values,
         "How the learning rate follows the batch: sqrt (Adam's kin); linear (sgd). Shares of "
         "warm-up follow it linearly."),
    NUMBER(INT64, train.steps, NULL, 1, 1e12, 0, "steps",
           "Updates of the whole run, skipped ones included; the learning rate is laid out over "
           "them."),
    NUMBER(INT64, train.eval_every, "0", 0, 1e12, 0, "steps",
           "Time between evaluations (the last step has one too); 0: none."),
    NUMBER(INT64, train.eval_batches, "8", 1, 1e9, 0, "batches",
           "Global batches of one evaluation."),
    NUMBER(INT64, train.log_every, "1", 1, 1e12, 0, "steps",
           "Time between lines on the terminal; metrics.jsonl has every step."),
    NUMBER(INT, train.threads, "auto", 1, 4096, AUTO, "threads",
           "Threads of a rank. auto: cores of the host / ranks on it."),
    NUMBER(DOUBLE, train.hang_seconds, "600", 0, 1e9, 0, "seconds",
           "A step without progress for so long ends the job with a report of who waits for whom; "
           "0: never."),
    NUMBER(INT64, train.trace, "0", 0, 1e6, 0, "steps",
           "Steps, after the first, that trace.json of the run's folder shows; 0: none."),
    ENUM(stability.policy, "stop", policies, in_order,
         "What is done with a gradient that is not finite or explodes: stop the job; skip the "
         "update; "
         "rollback to the newest checkpoint, and on with other samples."),
    NUMBER(DOUBLE, stability.spike, "0", 0, 1e9, 0, NULL,
           "A gradient explodes when its norm is above so many times the geometric mean of those "
           "before it; above 1. 0: none does, as long as it is finite."),
    NUMBER(INT64, stability.window, "100", 1, 1e9, 0, "steps",
           "Length of that mean; no gradient explodes before so many steps."),
    NUMBER(INT, stability.max_in_row, "5", 1, 1e6, 0, NULL,
           "Skips, or rollbacks, in a row; when they are of no help, the job stops."),
    NUMBER(INT64, checkpoint.every, "0", 0, 1e12, 0, "steps",
           "Time between checkpoints; 0: only at the end."),
    NUMBER(DOUBLE, checkpoint.every_seconds, "0", 0, 1e9, 0, "seconds",
           "The same as time; both may be set. 0: no checkpoint for the time that has passed."),
    NUMBER(INT, checkpoint.keep, "3", 0, 1e6, 0, "checkpoints",
           "Newest ones that are kept; 0: all."),
    NUMBER(INT64, checkpoint.keep_every, "0", 0, 1e12, 0, "steps",
           "Those of steps that are multiples of it are kept, too; 0: of none."),
    SWITCH(checkpoint.async, "true", 0, 0,
           "Written while training goes on, which takes a buffer as large as what a rank writes."),
    ENUM(checkpoint.files, "rank", shard_files, in_order,
         "One file for each rank, or for each node."),
    SWITCH(checkpoint.verify_replicas, "true", 0, 0,
           "Copies of a tensor on several ranks are compared before a save: where they differ, "
           "nothing "
           "is saved, and tensor and ranks are named."),
    WORD(PATH, checkpoint.dir, "", EMPTY,
         "Folder of checkpoints. Empty: ckpt in the run's folder."),
    CHOICE(checkpoint.optimizer, "restore", restores, 0,
           "On resume: restore the optimizer's states, or begin them fresh (once: those "
           "saved "
           "since are restored); counters and data cursor are kept."),
    SWITCH(checkpoint.resize_vocab, "false", 0, 0,
           "A checkpoint may have another model.vocab: missing ids are zero, surplus ones are left "
           "out."),
    WORD(PATH, checkpoint.init_from, "", EMPTY,
         "Checkpoint, or folder of them or of a run (its newest), whose weights alone a new run "
         "begins "
         "with. Empty: initial weights by seed."),
    WORD(PATH, run.dir, "", EMPTY, "The run's folder. Empty: runs/NAME below the current folder."),
};

const tri_config *tri_spec_table(void)
{
    static const tri_config table = {spec_fields,
                                     (int)(sizeof spec_fields / sizeof spec_fields[0])};
    return &table;
}
