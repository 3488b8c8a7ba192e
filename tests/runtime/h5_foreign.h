// SPDX-License-Identifier: Apache-2.0
/* HDF5 files as other programs make them: in chunks, compressed, in foreign byte order, spread over other
 * files. Made with HDF5 itself, not through the door that is tested.
 */
#ifndef TRI_TESTS_RUNTIME_H5_FOREIGN_H
#define TRI_TESTS_RUNTIME_H5_FOREIGN_H

#include <hdf5.h>
#include <stdint.h>

enum { FOREIGN_ROWS = 13, FOREIGN_COLUMNS = 10, FOREIGN_CELLS = FOREIGN_ROWS * FOREIGN_COLUMNS };

/* Value of element i of each dataset. */
static inline int64_t foreign_value(int64_t i)
{
    return i * i - 40 * i - 7;
}

typedef enum foreign_kind {
    PLAIN,
    DEFLATE,
    SHUFFLE,
    SHUFFLE_DEFLATE,
    SUM,                 /* fletcher32 */
    SHUFFLE_DEFLATE_SUM, /* as h5py orders them */
    SUM_DEFLATE_SHUFFLE, /* as nobody does */
    NBIT,
    DEFLATE_TWICE,
    UNFILTERED_EDGES,
    COMPACT,
    EXTERNAL,
    VIRTUAL,
    UNWRITTEN,
    HUGE_SHAPE
} foreign_kind;

typedef struct foreign_dataset {
    const char *name;
    foreign_kind kind;
    int type;                      /* 0: int64 le, 1: int32 be, 2: int16 le, 3: uint64 be */
    int chunk_rows, chunk_columns; /* 0: not in chunks; no columns: of one dimension */
} foreign_dataset;

static const foreign_dataset foreign_datasets[] = {
    {"plain",       PLAIN,               0, 0,  0 },
    {"big_endian",  PLAIN,               1, 0,  0 },
    {"narrow",      PLAIN,               2, 0,  0 },
    {"unsigned",    PLAIN,               3, 0,  0 },
    {"chunks",      PLAIN,               0, 4,  3 },
    {"chunks_be",   PLAIN,               1, 13, 4 },
    {"rows",        PLAIN,               2, 1,  10},
    {"deflate",     DEFLATE,             0, 4,  3 },
    {"shuffle",     SHUFFLE,             1, 4,  3 },
    {"gzip",        SHUFFLE_DEFLATE,     2, 5,  4 },
    {"line",        SHUFFLE_DEFLATE,     0, 32, 0 },
    {"line_be",     DEFLATE,             3, 48, 0 },
    {"sum",         SUM,                 2, 3,  3 },
    {"all",         SHUFFLE_DEFLATE_SUM, 0, 4,  3 },
    {"other_order", SUM_DEFLATE_SHUFFLE, 1, 4,  3 },
    {"nbit",        NBIT,                0, 4,  3 },
    {"twice",       DEFLATE_TWICE,       0, 4,  3 },
    {"edges",       UNFILTERED_EDGES,    0, 4,  3 },
    {"compact",     COMPACT,             0, 0,  0 },
    {"external",    EXTERNAL,            0, 0,  0 },
    {"virtual",     VIRTUAL,             0, 0,  0 },
    {"unwritten",   UNWRITTEN,           0, 4,  3 },
    {"huge",        HUGE_SHAPE,          0, 0,  0 },
    {"huge_chunks", HUGE_SHAPE,          0, 4,  10},
};
enum {
    FOREIGN_DATASETS = sizeof foreign_datasets / sizeof *foreign_datasets,
    FOREIGN_READABLE = 15 /* the first ones */
};

/* 0 where all went well; what is not asked for by `kind` is none. */
static inline int foreign_filters(foreign_kind kind, hid_t properties)
{
    static const struct {
        foreign_kind kind;
        int filters[3];
    } all[] = {
        {DEFLATE,             {1}      },
        {SHUFFLE,             {2}      },
        {SHUFFLE_DEFLATE,     {2, 1}   },
        {SUM,                 {3}      },
        {SHUFFLE_DEFLATE_SUM, {2, 1, 3}},
        {SUM_DEFLATE_SHUFFLE, {3, 1, 2}},
        {NBIT,                {5}      },
        {DEFLATE_TWICE,       {1, 1}   },
        {UNFILTERED_EDGES,    {1}      },
    };
    unsigned level = 6;
    herr_t rc = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int k = 0; all[i].kind == kind && k < 3 && all[i].filters[k] && rc >= 0; k++)
            rc = H5Pset_filter(properties, all[i].filters[k], 0, all[i].filters[k] == 1, &level);
    if (kind == UNFILTERED_EDGES && rc >= 0)
        rc = H5Pset_chunk_opts(properties, H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS);
    return rc < 0 ? -1 : 0;
}

static inline int foreign_properties(const foreign_dataset *d, hid_t space, hid_t properties)
{
    hsize_t chunk[2] = {(hsize_t)d->chunk_rows, (hsize_t)d->chunk_columns};
    herr_t rc = 0;
    if (chunk[0]) rc = H5Pset_chunk(properties, chunk[1] ? 2 : 1, chunk);
    if (foreign_filters(d->kind, properties) < 0) rc = -1;
    if (d->kind == COMPACT) rc = H5Pset_layout(properties, H5D_COMPACT);
    if (d->kind == EXTERNAL)
        rc = H5Pset_external(properties, "/nonexistent/bytes", 0, H5F_UNLIMITED);
    if (d->kind == VIRTUAL)
        rc = H5Pset_virtual(properties, space, "/nonexistent/other.h5", "x", space);
    return rc < 0 ? -1 : 0;
}

static inline int foreign_add(hid_t file, const foreign_dataset *d)
{
    const hid_t types[] = {H5T_STD_I64LE, H5T_STD_I32BE, H5T_STD_I16LE, H5T_STD_U64BE};
    hsize_t shape[2] = {FOREIGN_ROWS, FOREIGN_COLUMNS};
    int n_dims = d->chunk_rows && !d->chunk_columns ? 1 : 2;
    if (n_dims == 1) shape[0] = FOREIGN_CELLS;
    if (d->kind == HUGE_SHAPE) shape[0] = (hsize_t)1 << 50;
    int64_t values[FOREIGN_CELLS];
    for (int64_t i = 0; i < FOREIGN_CELLS; i++)
        values[i] = d->type == 3 && foreign_value(i) < 0 ? 0 : foreign_value(i);
    hid_t space = H5Screate_simple(n_dims, shape, NULL);
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    int rc = foreign_properties(d, space, properties);
    hid_t dataset =
        H5Dcreate2(file, d->name, types[d->type], space, H5P_DEFAULT, properties, H5P_DEFAULT);
    if (dataset < 0) rc = -1;
    if (d->kind <= COMPACT &&
        H5Dwrite(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        rc = -1;
    H5Dclose(dataset);
    H5Pclose(properties);
    H5Sclose(space);
    return rc;
}

/* 0, or -1 where HDF5 said no. `latest`: in the newest format, else in the oldest. */
static inline int foreign_make(const char *path, int latest)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (latest) H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    int rc = file < 0 ? -1 : 0;
    for (int i = 0; i < FOREIGN_DATASETS && rc == 0; i++)
        rc = foreign_add(file, &foreign_datasets[i]);
    if (rc == 0 && H5Lcreate_external("/nonexistent/other.h5", "x", file, "link", H5P_DEFAULT,
                                      H5P_DEFAULT) < 0)
        rc = -1;
    if (file >= 0) H5Fclose(file);
    H5Pclose(access);
    return rc;
}

#endif
