// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=300
// TEST ranks=1 timeout=3600 long args=--pairs 2000
/* Random tables on random meshes of up to 16 ranks (threads): rows of 1 to 4 dimensions of 1 to 20
 * elements, split, replicated, in fewer blocks than ranks (nested axes), on one stage or all, and of that a
 * random flat range, which others may hold too. Saved on one layout, read whole through HDF5 and loaded
 * on another, compared element by element with what each element must be. Of the sizes that
 * DeepSpeed's converter mistakes (specs: 5 elements over 4 ranks, 1 over 8, 9 over 8) the plain shards are tried
 * one by one.
 *
 *   test_ckpt_random [--pairs N] [--seed FIRST]     a failure names its seed: --pairs 1 --seed S repeats it
 */
#include "tests/checkpoint/fixture_io.h"
#include "tests/checkpoint/logical.h"

enum { ROWS = 12, RANKS = 16, NAME = 24 };

/* Draws of one seed; each rank draws the same. */
typedef struct dice {
    tri_rng rng;
    uint64_t n;
} dice;

static dice dice_of(int64_t seed, uint64_t stream)
{
    return (dice){
        .rng = {.seed = (uint64_t)seed, .stream = stream, .purpose = TRI_RNG_TEST}
    };
}

/* A number in [0, below). */
static int draw(dice *d, int below)
{
    return (int)(tri_rng_word(d->rng, d->n++) % (uint32_t)below);
}

typedef enum lie_cut { EVEN, ONE_HAS_ALL, ANYHOW } lie_cut;

/* How a row lies on the mesh. Shards are those of groups of the data x context ranks. */
typedef struct lie {
    tri_place place;
    int n_shards;  /* that the ranks of data x context hold of it; 1: whole */
    bool is_inner; /* neighbours hold different shards, else equal ones */
    lie_cut cut;
} lie;

/* A table and a layout of it; what the ranks of one world share. */
typedef struct world_job {
    int64_t seed;
    int n_rows;
    tri_row row[ROWS];
    int size[TRI_AXES];
    lie lies[ROWS];
    const char *dir;
    bool save;
} world_job;

static void draw_rows(world_job *job, dice *d)
{
    static const tri_dtype dtypes[] = {TRI_F32, TRI_F32, TRI_BF16, TRI_I64, TRI_U8, TRI_I32};
    job->n_rows = 1 + draw(d, ROWS);
    for (int i = 0; i < job->n_rows; i++) {
        tri_row *row = &job->row[i];
        *row = (tri_row){.role = (tri_role)draw(d, 4), .dtype = dtypes[draw(d, 6)]};
        row->n_dims = 1 + draw(d, TRI_MAX_DIMS);
        snprintf(row->name, NAME, "param/%c%d", 'a' + draw(d, 26), i);
        for (int k = 0; k < row->n_dims; k++)
            row->shape[k] = 1 + draw(d, 20);
    }
}

/* Largest divisor of n that is not above a number drawn. */
static int draw_divisor(dice *d, int n)
{
    int parts = 1 + draw(d, n);
    while (n % parts != 0)
        parts--;
    return parts;
}

/* An axis may split a dimension that no other splits. */
static lie draw_lie(dice *d, const tri_row *row, const int size[TRI_AXES])
{
    lie l = {.n_shards = 1};
    bool taken[TRI_MAX_DIMS] = {false};
    int free_ranks = 1; /* of data x context */
    for (int a = 0; a < TRI_AXES; a++) {
        int dim = draw(d, row->n_dims);
        bool splits = draw(d, 2) == 0 && !taken[dim];
        if (a == TRI_AXIS_PIPELINE) {
            l.place.axis[a].kind = draw(d, 4) == 0 ? TRI_REPLICATED : TRI_AT;
            if (l.place.axis[a].kind == TRI_AT) l.place.axis[a].arg = draw(d, size[a]);
        } else if (splits && (a == TRI_AXIS_TENSOR || draw(d, 3) == 0)) {
            taken[dim] = true;
            l.place.axis[a].kind = TRI_SPLIT;
            l.place.axis[a].arg = dim;
            l.place.axis[a].parts = draw(d, 2) ? draw_divisor(d, size[a]) : 0;
        } else if (a != TRI_AXIS_TENSOR) {
            free_ranks *= size[a];
        }
    }
    if (free_ranks == size[TRI_AXIS_DATA] * size[TRI_AXIS_CONTEXT])
        l.n_shards = draw_divisor(d, free_ranks);
    l.is_inner = draw(d, 2);
    l.cut = (lie_cut)draw(d, 3);
    return l;
}

static void draw_layout(world_job *job, dice *d)
{
    int ranks = 1;
    do {
        ranks = 1;
        for (int a = 0; a < TRI_AXES; a++) {
            job->size[a] = 1 + (draw(d, 2) ? draw(d, 8) : 0);
            ranks *= job->size[a];
        }
    } while (ranks > RANKS);
    for (int i = 0; i < job->n_rows; i++)
        job->lies[i] = draw_lie(d, &job->row[i], job->size);
}

/* Which part of `elements` this rank holds. Cuts are the same on all ranks that have the same box. */
static void cut_range(const world_job *job, const fixture *f, int i, const tri_box *box,
                      int64_t *begin, int64_t *count)
{
    const lie *l = &job->lies[i];
    int64_t elements = tri_box_elements(box);
    unsigned axes = TRI_AXIS_BIT(TRI_AXIS_DATA) | TRI_AXIS_BIT(TRI_AXIS_CONTEXT);
    int index = tri_mesh_index(f->mesh, axes);
    int shard =
        l->is_inner ? index % l->n_shards : index / (tri_mesh_product(f->mesh, axes) / l->n_shards);
    int64_t border[RANKS + 1] = {0};
    uint64_t stream = 100 + (uint64_t)i;
    for (int k = 0; k < box->n_dims; k++)
        stream = stream * 31 + (uint64_t)box->start[k];
    dice d = dice_of(job->seed, stream & 0xffffffffu);
    int64_t block = (elements + l->n_shards - 1) / l->n_shards;
    int all = draw(&d, l->n_shards);
    for (int s = 1; s < l->n_shards; s++) {
        int64_t at = s * block;
        if (l->cut == ONE_HAS_ALL) at = s > all ? elements : 0;
        if (l->cut == ANYHOW) at = border[s - 1] + draw(&d, (int)(2 * block) + 1);
        border[s] = tri_min64(at, elements);
    }
    border[l->n_shards] = elements;
    *begin = border[shard];
    *count = border[shard + 1] - border[shard];
}

static tri_status add_row(const world_job *job, fixture *f, int i)
{
    tri_row row = job->row[i];
    row.place = job->lies[i].place;
    const tri_place *place = &row.place;
    bool elsewhere =
        place->axis[TRI_AXIS_PIPELINE].kind == TRI_AT &&
        place->axis[TRI_AXIS_PIPELINE].arg != tri_mesh_coord(f->mesh, TRI_AXIS_PIPELINE);
    if (elsewhere) return TRI_OK;
    tri_box box;
    int index = 0;
    int64_t begin = 0;
    int64_t count = 0;
    char *data = NULL;
    TRI_TRY(tri_state_add(f->state, &row, &index));
    TRI_TRY(tri_place_box(place, f->mesh, tri_mesh_rank(f->mesh), row.n_dims, row.shape, &box));
    cut_range(job, f, i, &box, &begin, &count);
    TRI_TRY(tri_alloc((void **)&data, count, tri_dtype_bytes(row.dtype)));
    tri_state_hold(f->state, index, begin, count, data);
    return TRI_OK;
}

static tri_status job_rank(tri_comm *world, void *arg)
{
    const world_job *job = arg;
    TRI_AUTO(fixture) f = {.scale = 1};
    tri_mesh_args args = {.world = world};
    memcpy(args.size, job->size, sizeof args.size);
    TRI_TRY(tri_mesh_create(&args, &f.mesh));
    TRI_TRY(tri_state_create(f.mesh, &f.state));
    for (int i = 0; i < job->n_rows; i++)
        TRI_TRY(add_row(job, &f, i));
    if (job->save) return fixture_save(&f, world, job->dir, job->seed, 0);
    int64_t step = 0;
    TRI_TRY(fixture_restore(&f, world, job->dir, &step));
    EXPECT(step == job->seed, "found step %lld", (long long)step);
    return TRI_OK;
}

static tri_status run_job(world_job *job)
{
    tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    int ranks = 1;
    for (int a = 0; a < TRI_AXES; a++)
        ranks *= job->size[a];
    return tri_comm_run_threads(ranks, &device, job_rank, job);
}

/* What other tools see. */
static tri_status expect_view(const world_job *job)
{
    TRI_AUTO(logical) *want = NULL;
    TRI_AUTO(logical) *got = NULL;
    tri_ckpt_info info = {0};
    TRI_TRY(TRI_NEW(&want));
    for (int i = 0; i < job->n_rows; i++) {
        logical_row *row = NULL;
        TRI_TRY(logical_add(want, &job->row[i], &row));
        size_t bytes = tri_dtype_bytes(row->row.dtype);
        for (int64_t e = 0; e < tri_row_elements(&row->row); e++) {
            uint32_t value = fixture_value(row->row.name, e, job->seed);
            uint64_t bits = fixture_bits(row->row.dtype, value);
            memcpy(row->data + (size_t)e * bytes, &bits, bytes);
        }
    }
    TRI_TRY(tri_ckpt_read_info(job->dir, &info));
    tri_status rc = logical_read(want, info.path, &got);
    tri_ckpt_info_fini(&info);
    TRI_TRY(rc);
    logical_expect_same(got, want, "universal.h5");
    return TRI_OK;
}

/* Save on the first layout of a seed, load on its second, and back. */
static tri_status try_seed(const char *dir, int64_t seed)
{
    world_job from = {.seed = seed, .dir = dir, .save = true};
    dice d = dice_of(seed, 0);
    draw_rows(&from, &d);
    world_job to = from;
    to.save = false;
    draw_layout(&from, &d);
    draw_layout(&to, &d);
    TRI_TRY(run_job(&from));
    TRI_TRY(expect_view(&from));
    TRI_TRY(run_job(&to));
    to.save = true;
    TRI_TRY(run_job(&to));
    from.save = false;
    TRI_TRY(run_job(&from));
    return TRI_OK;
}

static int64_t option(const char *name, int64_t otherwise)
{
    for (int i = 1; i + 1 < tri_test_argc; i++)
        if (strcmp(tri_test_argv[i], name) == 0) return strtoll(tri_test_argv[i + 1], NULL, 10);
    return otherwise;
}

TRI_TEST(random_tables_move_between_random_layouts)
{
    int64_t first = option("--seed", 1);
    int64_t pairs = option("--pairs", 50); /* each there and back */
    for (int64_t seed = first; seed < first + pairs; seed++) {
        char dir[64];
        int before = tri_test_failures;
        TRI_TRY(fixture_folder(dir));
        tri_status rc = try_seed(dir, seed);
        EXPECT(rc == TRI_OK, "seed %lld: %s", (long long)seed, tri_err_last()->text);
        tri_err_clear();
        fixture_remove(dir, 1);
        if (tri_test_failures != before)
            printf("     failed: --pairs 1 --seed %lld\n", (long long)seed);
    }
    return TRI_OK;
}

/* Plain shards: n elements over k ranks, by blocks of ceil(n / k); also from k ranks to others. */
TRI_TEST(fewer_elements_than_ranks)
{
    static const int sizes[][2] = {
        {5,  4 },
        {1,  8 },
        {9,  8 },
        {3,  16},
        {17, 16},
        {2,  3 }
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            char dir[64];
            TRI_TRY(fixture_folder(dir));
            world_job job = {
                .seed = 7, .n_rows = 1, .size = {1, sizes[i][1], 1, 1},
                        .dir = dir
            };
            job.row[0] = (tri_row){
                .name = "param/small", .dtype = TRI_F32, .n_dims = 1, .shape = {sizes[i][0]}};
            job.lies[0] = (lie){.n_shards = sizes[i][1], .is_inner = true, .cut = EVEN};
            job.save = true;
            TRI_TRY(run_job(&job));
            TRI_TRY(expect_view(&job));
            job.save = false;
            job.size[TRI_AXIS_DATA] = job.lies[0].n_shards = sizes[j][1];
            TRI_TRY(run_job(&job));
            fixture_remove(dir, 1);
        }
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(random_tables_move_between_random_layouts),
              TRI_TEST_ROW(fewer_elements_than_ranks))
