// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* Job specs: defaults, overrides, the round trip of the dump, and one message per kind of mistake. */
#include "launch/spec.h"
#include "launch/spec_table.h"
#include "tests/folder.h"
#include "tests/test.h"

#include <unistd.h>

/* All required keys, one line each. */
static const char good[] = "name: small\n"
                           "model: {family: gpt2, layers: 2, hidden: 64, heads: 4, context: 32}\n"
                           "data: {train: text.txt}\n"
                           "batch: {sequences: 8, micro: 2}\n"
                           "optimizer: {lr: 1.0e-3}\n"
                           "train: {steps: 10}\n";

static tri_status parse(const char *text, tri_spec *out)
{
    return tri_spec_parse(text, strlen(text), "job.yaml", out);
}

/* `good` with its line for `section` replaced (or one more line). */
static tri_status parse_with(const char *section, const char *line)
{
    char text[2048];
    size_t n = 0;
    size_t length = strlen(section);
    for (const char *at = good; *at;) {
        const char *end = strchr(at, '\n') + 1;
        bool is_replaced = strncmp(at, section, length) == 0 && at[length] == ':';
        if (!is_replaced) {
            memcpy(text + n, at, (size_t)(end - at));
            n += (size_t)(end - at);
        }
        at = end;
    }
    snprintf(text + n, sizeof text - n, "%s\n", line);
    tri_spec spec;
    return parse(text, &spec);
}

TRI_TEST(defaults)
{
    tri_spec spec;
    TRI_TRY(parse(good, &spec));
    EXPECT(strcmp(spec.name, "small") == 0 && spec.seed == 1, "%s", spec.name);
    EXPECT(spec.precision == TRI_F32, "%d", (int)spec.precision);
    EXPECT(spec.model.tied == -1 && spec.model.vocab == 0, "%d", spec.model.tied);
    EXPECT(spec.model.rope_theta == 10000 && spec.model.norm_epsilon == 1e-5 &&
               spec.model.init_std == 0.02 && spec.model.dropout == 0,
           "%g", spec.model.rope_theta);
    EXPECT(strcmp(spec.data.format, "text") == 0 && spec.data.holdout == 0.05, "%s",
           spec.data.format);
    EXPECT(spec.parallel.data == 0 && spec.parallel.zero_stage == 1 && spec.parallel.zero[2] == 0 &&
               spec.parallel.bucket_mb == 25,
           "%d", spec.parallel.zero_stage);
    EXPECT(spec.parallel.tensor == 1 && spec.parallel.pipeline == 1 && spec.parallel.context == 1 &&
               spec.parallel.chunks == 1 && spec.parallel.tensor_sequence == 1 &&
               spec.parallel.prefetch == 1 && spec.parallel.context_mode == 0 &&
               spec.parallel.ulysses == 1 && spec.parallel.recompute == 0,
           "%d", spec.parallel.tensor);
    EXPECT(strcmp(spec.parallel.schedule, "1f1b") == 0, "%s", spec.parallel.schedule);
    EXPECT(spec.data.separator == -1, "%d", spec.data.separator);
    EXPECT(spec.train.hang_seconds == 600 && spec.train.trace == 0, "%g", spec.train.hang_seconds);
    EXPECT(spec.optimizer.betas[0] == -1 && spec.optimizer.betas[1] == -1 &&
               spec.optimizer.epsilon == 0 && spec.optimizer.groups[0][0] == '\0' &&
               spec.optimizer.moments == TRI_F32 && spec.optimizer.weight_decay == 0.1 &&
               spec.optimizer.clip == 1,
           "%g", spec.optimizer.betas[1]);
    EXPECT(spec.schedule.warmup == 0 && spec.schedule.final == 0.1 &&
               strcmp(spec.schedule.decay, "cosine") == 0,
           "%s", spec.schedule.decay);
    EXPECT(spec.train.eval_batches == 8 && spec.train.log_every == 1 && spec.train.threads == 0,
           "%d", spec.train.threads);
    EXPECT(spec.checkpoint.keep == 3 && spec.checkpoint.every == 0, "%d", spec.checkpoint.keep);
    return TRI_OK;
}

TRI_TEST(unknown_keys_name_the_nearest)
{
    EXPECT_STATUS(parse_with("x", "model.layerz: 3"), TRI_EINVAL,
                  "job.yaml:7: unknown key 'model.layerz'; did you mean 'model.layers'?");
    EXPECT_STATUS(parse_with("train", "train:\n  steps: 4\n  eval_evry: 3"), TRI_EINVAL,
                  "job.yaml:8: unknown key 'train.eval_evry'; did you mean 'train.eval_every'?");
    EXPECT_STATUS(parse_with("x", "betas: [0.9, 0.99]"), TRI_EINVAL,
                  "unknown key 'betas'; did you mean 'optimizer.betas'?");
    EXPECT_STATUS(parse_with("x", "modle: {dropout: 0.1}"), TRI_EINVAL,
                  "unknown key 'modle.dropout'; did you mean 'model.dropout'?");
    EXPECT_STATUS(parse_with("x", "parallel: {schedul: 1f1b}"), TRI_EINVAL,
                  "unknown key 'parallel.schedul'; did you mean 'parallel.schedule'?");
    EXPECT_STATUS(parse_with("x", "entirely_else: 1"), TRI_EINVAL, "trireme help spec");
    EXPECT_STATUS(parse_with("x", "nothing_here: {}"), TRI_EINVAL, "unknown key 'nothing_here'");
    EXPECT_STATUS(parse_with("x", "<<: {seed: 1}"), TRI_EINVAL, "unknown key '<<.seed'");
    return TRI_OK;
}

TRI_TEST(wrong_values_say_what_is_right)
{
    static const struct {
        const char *section, *line, *part;
    } cases[] = {
        {"x",         "seed: -1",                                                                 "job.yaml:7: seed: '-1' is not a whole number"       },
        {"x",         "seed: 18446744073709551616",                                               "is out of range"                                    },
        {"x",         "seed: 1.5",                                                                "takes a whole number from 0 to 18446744073709551615"},
        {"x",         "seed:",                                                                    "seed: has no value"                                 },
        {"x",         "seed: ~",                                                                  "seed: has no value"                                 },
        {"x",         "seed: [1]",                                                                "seed: is a list"                                    },
        {"x",         "seed: {a: 1}",                                                             "'seed' is a key with a value, not a section"        },
        {"x",         "precision: fp16",                                                          "precision: 'fp16' is not known: takes fp32 or bf16" },
        {"x",         "schedule: {decay: cosin}",
         "takes constant, linear, cosine, polynomial, wsd or inverse_sqrt"                                                                             },
        {"x",         "schedule: {final: nan}",                                                   "'nan' is not a number"                              },
        {"x",         "schedule: {final: 0x1}",                                                   "'0x1' is not a number"                              },
        {"x",         "schedule: {final: 1.5}",                                                   "takes a number from 0 to 1"                         },
        {"x",         "schedule: {warmup: 1e3}",                                                  "'1e3' is not a whole number"                        },
        {"x",         "schedule: {warmup: 99999999999999999999}",                                 "is out of range"                                    },
        {"x",         "parallel: {zero: 4}",
         "parallel.zero: '4' is out of range: takes a whole number from 0 to 3, or a list of "
         "three"                                                                                                                                       },
        {"x",         "parallel: {zero: [1, 2, 0]}",
         "'0' is out of range: takes a whole number from 0 to 3, or a list of three from 1 to"                                                         },
        {"x",         "parallel: 4",                                                              "'parallel' is a section"                            },
        {"x",         "checkpoint: {keep: -1}",                                                   "takes a whole number from 0"                        },
        {"name",      "name: a/b",                                                                "'a/b' is not a name"                                },
        {"name",      "name: ..",                                                                 "'..' is not a name"                                 },
        {"name",      "name: \"\"",                                                               "name: is empty"                                     },
        {"name",      "name: \"a\\tb\"",                                                          "control characters"                                 },
        {"name",      "name: n23456789012345678901234567890123456789012345678901234567890123456",
         "takes at most 63"                                                                                                                            },
        {"batch",     "batch: {sequences: 0, micro: 1}",                                          "takes a whole number from 1"                        },
        {"batch",     "batch: {micro: 2}",                                                        "missing key 'batch.sequences'"                      },
        {"optimizer", "optimizer: {lr: 0}",                                                       "takes a number above 0 to 1000"                     },
        {"optimizer", "optimizer: {lr: 1, betas: [0.9]}",                                         "takes a list of two numbers"                        },
        {"optimizer", "optimizer: {lr: 1, betas: 0.9}",                                           "is one value"                                       },
        {"optimizer", "optimizer: {lr: 1, betas: [0.9, 1]}",                                      "from 0 to below 1"                                  },
        {"optimizer", "optimizer: {lr: 1, betas: [0.9, [1]]}",                                    "a list within a list"                               },
        {"optimizer", "optimizer: {lr: 1, nesterov: yes}",                                        "takes true or false"                                },
        {"optimizer", "optimizer: {}",                                                            "missing key 'optimizer.lr'"                         },
        {"train",     "train: {steps: 1}\ntrain.steps: 2",                                        "key 'train.steps' is given twice"                   },
        {"data",      "data: {train: }",                                                          "data.train: has no value"                           },
        {"data",      "data: {train: x, holdout: 1}",                                             "from 0 to below 1"                                  },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        EXPECT_STATUS(parse_with(cases[i].section, cases[i].line), TRI_EINVAL, cases[i].part);
    tri_spec spec;
    EXPECT_STATUS(parse("", &spec), TRI_EINVAL, "job.yaml: the job spec is empty");
    EXPECT_STATUS(parse("- a\n", &spec), TRI_EINVAL, "job.yaml:1: a job spec is a mapping");
    return TRI_OK;
}

TRI_TEST(wrong_layouts_say_what_is_right)
{
    static const struct {
        const char *line, *part;
    } cases[] = {
        {"parallel: {tensor: 0}",                "takes a whole number from 1"                     },
        {"parallel: {zero: [1, 2]}",             "the list has another length"                     },
        {"parallel: {zero: all}",                "'all' is not a whole number"                     },
        {"parallel: {schedule: 2f2b}",           "takes gpipe, 1f1b, interleaved, zb_h1 or zb_v"   },
        {"parallel: {context_mode: star}",       "takes ring, ulysses or allgather"                },
        {"parallel: {recompute: some}",          "takes none, selective or full"                   },
        {"parallel: {recompute_layers: 0}",      "takes a whole number from 1 to 10000, or auto"   },
        {"parallel: {quantize_weights: int4}",   "takes none or int8"                              },
        {"parallel: {quantize_gradients: int2}", "takes none, int8 or int4"                        },
        {"train.hang_seconds: -1",               "takes a number from 0"                           },
        {"data.separator: -1",                   "takes a whole number from 0 to 16777215, or none"},
        {"parallel: {expert: 2}",                "this version runs 1"                             },
        {"optimizer.groups: bias",               "takes a list of up to 16 texts"                  },
        {"optimizer.groups: [a, '']",            "is empty, too long"                              },
        {"optimizer.betas: 0.9",                 "a list of two numbers from 0 to below 1, or auto"},
        {"parallel: {data: some}",               "from 1 to 1000000, or auto"                      },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        EXPECT_STATUS(parse_with("x", cases[i].line), TRI_EINVAL, cases[i].part);
    return TRI_OK;
}

TRI_TEST(dump_reads_back)
{
    tri_spec first;
    tri_spec second;
    TRI_TRY(parse(good, &first));
    first.seed = UINT64_MAX;
    first.optimizer.lr = 0.1 + 0.2;
    first.optimizer.betas[0] = 1.0 / 3.0;
    first.optimizer.betas[1] = 0.5;
    snprintf(first.optimizer.groups[0], TRI_OPTIM_GROUP_BYTES, "*.\"bias\" lr 2");
    snprintf(first.optimizer.groups[1], TRI_OPTIM_GROUP_BYTES, "layers.0.* decay 0");
    first.optimizer.nesterov = 1;
    first.model.tied = 1;
    first.precision = TRI_BF16;
    snprintf(first.data.train, sizeof first.data.train, "/a \"b\"\\c: [d]#é");
    memset(first.data.validation, '"', sizeof first.data.validation - 1);
    char *text = NULL;
    TRI_TRY(tri_spec_dump(&first, &text));
    tri_status rc = parse(text, &second);
    char *again = NULL;
    if (rc == TRI_OK) rc = tri_spec_dump(&second, &again);
    EXPECT(rc == TRI_OK && strcmp(text, again) == 0, "%s", text);
    EXPECT(rc == TRI_OK && memcmp(&first.optimizer, &second.optimizer, sizeof first.optimizer) == 0,
           "optimizer differs");
    EXPECT(strcmp(first.data.train, second.data.train) == 0, "%s", second.data.train);
    EXPECT(second.seed == UINT64_MAX, "%llu", (unsigned long long)second.seed);
    TRI_FREE(text);
    TRI_FREE(again);
    TRI_TRY(rc);
    return TRI_OK;
}

/* A level stays a level and a list a list, whatever a check has resolved. */
TRI_TEST(levels_and_lists_read_back)
{
    static const char *const lines[] = {"0", "3", "[1, 2, 8]"};
    for (int i = 0; i < 3; i++) {
        char line[64];
        char want[64];
        char copy[4096];
        snprintf(copy, sizeof copy, "%sparallel.zero: %s\ndata.separator: %s\n", good, lines[i],
                 i ? "7" : "none");
        tri_spec spec;
        TRI_TRY(parse(copy, &spec));
        EXPECT(spec.data.separator == (i ? 7 : -1), "%d", spec.data.separator);
        EXPECT(spec.parallel.zero_stage == (i == 0 ? 0 : i == 1 ? 3 : -1), "%s", lines[i]);
        if (i < 2) memcpy(spec.parallel.zero, (const int[]){4, 4, 4}, sizeof spec.parallel.zero);
        char *text = NULL;
        TRI_TRY(tri_spec_dump(&spec, &text));
        snprintf(line, sizeof line, "  zero: %s\n", lines[i]);
        snprintf(want, sizeof want, "  separator: %s\n", i ? "7" : "none");
        EXPECT(strstr(text, line) && strstr(text, want), "no '%s' in\n%s", line, text);
        TRI_FREE(text);
    }
    return TRI_OK;
}

TRI_TEST(overrides_win_and_paths_have_a_base)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(tri_folder_put(folder, "job.yaml", "w", good, strlen(good)));
    const char *path = folder->file;
    const char *const overrides[] = {"train.steps=20", "optimizer.betas=[0.8, 0.9]",
                                     "data.validation=v=1.txt", "train.steps=30"};
    tri_spec spec;
    TRI_TRY(tri_spec_read(path, 4, overrides, &spec));
    char want[600];
    char here[400];
    snprintf(want, sizeof want, "%s/text.txt", folder->path);
    EXPECT(strcmp(spec.data.train, want) == 0, "%s", spec.data.train);
    EXPECT(getcwd(here, sizeof here) != NULL, "no current folder");
    snprintf(want, sizeof want, "%s/v=1.txt", here);
    EXPECT(strcmp(spec.data.validation, want) == 0, "%s", spec.data.validation);
    EXPECT(spec.train.steps == 30, "%lld", (long long)spec.train.steps);
    EXPECT(spec.optimizer.betas[0] == 0.8, "%g", spec.optimizer.betas[0]);

    static const struct {
        const char *override, *part;
    } cases[] = {
        {"model.layerz=3",            "command line: unknown key 'model.layerz'; did you mean 'model.layers'"},
        {"steps",                     "'steps' is not an override of the form key=value"                     },
        {"=3",                        "not an override"                                                      },
        {"model=3",                   "'model' is a section"                                                 },
        {"train.steps=",              "command line: train.steps: has no value"                              },
        {"optimizer.betas=[0.8, 0.9", "not valid YAML"                                                       },
        {"data.train=\xff",           "not UTF-8"                                                            },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        EXPECT_STATUS(tri_spec_read(path, 1, &cases[i].override, &spec), TRI_EINVAL, cases[i].part);
    unlink(path);
    EXPECT_STATUS(tri_spec_read(path, 0, NULL, &spec), TRI_EIO, path);
    EXPECT_STATUS(tri_spec_read(folder->path, 0, NULL, &spec), TRI_EIO, "Is a directory");
    EXPECT_STATUS(tri_spec_read("/nonexistent/job.yaml", 0, NULL, &spec), TRI_EIO,
                  "/nonexistent/job.yaml");
    return TRI_OK;
}

/* An override may give what the file lacks. */
TRI_TEST(override_gives_a_required_key)
{
    const char *text = strchr(good, '\n') + 1; /* without the first line, the name */
    tri_spec spec;
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(tri_folder_put(folder, "job.yaml", "w", text, strlen(text)));
    const char *path = folder->file;
    const char *name = "name=given";
    TRI_TRY(tri_spec_read(path, 1, &name, &spec));
    EXPECT(strcmp(spec.name, "given") == 0, "%s", spec.name);
    EXPECT_STATUS(tri_spec_read(path, 0, NULL, &spec), TRI_EINVAL, "missing key 'name'");
    return TRI_OK;
}

/* docs/job-spec.md is what the program prints. */
TRI_TEST(reference_is_current)
{
    char path[1024];
    const char *tests = strstr(__FILE__, "tests/launch/");
    snprintf(path, sizeof path, "%.*sdocs/job-spec.md", (int)(tests - __FILE__), __FILE__);
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *printed = open_memstream(&text, &n_bytes);
    tri_spec_reference(printed);
    fclose(printed);
    FILE *page = fopen(path, "r");
    if (!page) page = fopen("docs/job-spec.md", "r"); /* the path may be relative to the build */
    TRI_TRY(TRI_SYS(page ? 0 : -1, "opening %s", path));
    size_t at = 0;
    int c;
    while ((c = fgetc(page)) != EOF && at < n_bytes && text[at] == (char)c)
        at++;
    EXPECT(c == EOF && at == n_bytes,
           "%s differs from `trireme help spec` at byte %zu: print it again", path, at);
    fclose(page);
    free(text);
    return TRI_OK;
}

/* The table fits its struct: no two rows overlap, sections are together, defaults are in range. */
TRI_TEST(table_is_sound)
{
    const tri_config *table = tri_spec_table();
    EXPECT(table->n_fields <= TRI_CONFIG_MAX_FIELDS, "%d rows", table->n_fields);
    for (int i = 0; i < table->n_fields; i++) {
        const tri_field *a = &table->fields[i];
        EXPECT(a->offset + a->bytes <= sizeof(tri_spec), "%s lies outside", a->key);
        EXPECT(tri_config_find(table, a->key) == i, "%s stands twice", a->key);
        for (int j = 0; j < i; j++) {
            const tri_field *b = &table->fields[j];
            EXPECT(a->offset >= b->offset + b->bytes || b->offset >= a->offset + a->bytes,
                   "%s and %s overlap", a->key, b->key);
        }
    }
    return TRI_OK;
}

TRI_TEST(fixed_keys_are_found)
{
    tri_spec a;
    tri_spec b;
    TRI_TRY(parse(good, &a));
    b = a;
    b.train.steps = 99;
    b.optimizer.lr = 2;
    EXPECT(tri_config_differs(tri_spec_table(), &a, &b, TRI_FIELD_FIXED) < 0, "steps are fixed");
    b.model.layers = 3;
    int i = tri_config_differs(tri_spec_table(), &a, &b, TRI_FIELD_FIXED);
    EXPECT(i >= 0 && strcmp(tri_spec_table()->fields[i].key, "model.layers") == 0, "row %d", i);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(defaults), TRI_TEST_ROW(unknown_keys_name_the_nearest),
              TRI_TEST_ROW(wrong_values_say_what_is_right),
              TRI_TEST_ROW(wrong_layouts_say_what_is_right), TRI_TEST_ROW(dump_reads_back),
              TRI_TEST_ROW(levels_and_lists_read_back),
              TRI_TEST_ROW(overrides_win_and_paths_have_a_base),
              TRI_TEST_ROW(override_gives_a_required_key), TRI_TEST_ROW(reference_is_current),
              TRI_TEST_ROW(table_is_sound), TRI_TEST_ROW(fixed_keys_are_found))
