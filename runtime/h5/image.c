// SPDX-License-Identifier: Apache-2.0
/* An HDF5 file driver over a table of pages. No callback fails: where memory runs out, the image is
 * marked and the write is dropped, and tri_h5_image_write says so later.
 */
#include "runtime/h5/image.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#if H5_VERSION_GE(1, 14, 0)
#include <H5FDdevelop.h>
#endif

enum {
    IMAGE_PAGE_BYTES = 16384,
    IMAGE_CHUNK_PAGES = 4096,
    IMAGE_METADATA_BYTES = 65536,
    IMAGE_DRIVER = 512 + 77
};

/* Pages that are neighbours: the table of a file is small where it is only reserved. */
typedef struct image_chunk {
    char *page[IMAGE_CHUNK_PAGES]; /* NULL: never written */
} image_chunk;

struct tri_h5_image {
    image_chunk **chunks; /* NULL: no page of it was ever written */
    int64_t n_chunks;
    int64_t end;  /* bytes of the file */
    hid_t driver; /* 0: not registered */
    bool out_of_memory;
};

/* What HDF5 holds: its own part first. */
typedef struct image_file {
    H5FD_t common;
    tri_h5_image *image;
    haddr_t allocated;
} image_file;

/* Driver information of an access property list; copied by HDF5. */
typedef struct image_info {
    tri_h5_image *image;
} image_info;

static image_file *image_of(H5FD_t *file)
{
    return (image_file *)(void *)file;
}

static const image_file *image_of_const(const H5FD_t *file)
{
    return (const image_file *)(const void *)file;
}

static H5FD_t *image_open(const char *name, unsigned flags, hid_t access, haddr_t max)
{
    (void)name, (void)flags, (void)max;
    const image_info *info = H5Pget_driver_info(access);
    image_file *file = NULL;
    if (!info || TRI_NEW(&file) != TRI_OK) return NULL;
    file->image = info->image;
    return &file->common;
}

static herr_t image_close(H5FD_t *common)
{
    image_file *file = image_of(common);
    file->image->end = (int64_t)file->allocated;
    TRI_FREE(file);
    return 0;
}

static herr_t image_query(const H5FD_t *file, unsigned long *flags)
{
    (void)file;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
}

static haddr_t image_get_eoa(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return image_of_const(file)->allocated;
}

static herr_t image_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t address)
{
    (void)type;
    image_of(file)->allocated = address;
    return 0;
}

static haddr_t image_get_eof(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return (haddr_t)image_of_const(file)->image->end;
}

/* The page at `index`; NULL: never written. */
static char *image_find(const tri_h5_image *image, int64_t index)
{
    int64_t chunk = index / IMAGE_CHUNK_PAGES;
    if (chunk >= image->n_chunks || !image->chunks[chunk]) return NULL;
    return image->chunks[chunk]->page[index % IMAGE_CHUNK_PAGES];
}

/* The page at `index`, made if it is not there. NULL: out of memory. */
static char *image_page(tri_h5_image *image, int64_t index)
{
    char *found = image_find(image, index);
    if (found) return found;
    int64_t chunk = index / IMAGE_CHUNK_PAGES;
    if (chunk >= image->n_chunks) {
        int64_t n = tri_max64(16, 2 * (chunk + 1));
        if (tri_alloc_grow((void **)&image->chunks, image->n_chunks, n, sizeof *image->chunks) !=
            TRI_OK)
            return NULL;
        image->n_chunks = n;
    }
    if (!image->chunks[chunk] && TRI_NEW(&image->chunks[chunk]) != TRI_OK) return NULL;
    char **page = &image->chunks[chunk]->page[index % IMAGE_CHUNK_PAGES];
    if (TRI_NEW_ARRAY(IMAGE_PAGE_BYTES, page) != TRI_OK) return NULL;
    return *page;
}

void tri_h5_image_copy(const tri_h5_image *image, int64_t begin, int64_t bytes, char *out)
{
    while (bytes > 0) {
        int64_t index = begin / IMAGE_PAGE_BYTES;
        int64_t skip = begin % IMAGE_PAGE_BYTES;
        int64_t n = tri_min64(IMAGE_PAGE_BYTES - skip, bytes);
        const char *page = image_find(image, index);
        if (page) memcpy(out, page + skip, (size_t)n);
        if (!page) memset(out, 0, (size_t)n);
        begin += n;
        out += n;
        bytes -= n;
    }
}

static herr_t image_read(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address,
                         size_t bytes, void *buffer)
{
    (void)type, (void)transfer;
    tri_h5_image_copy(image_of(file)->image, (int64_t)address, (int64_t)bytes, buffer);
    return 0;
}

static herr_t image_write(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address,
                          size_t bytes, const void *buffer)
{
    (void)type, (void)transfer;
    tri_h5_image *image = image_of(file)->image;
    int64_t at = (int64_t)address;
    const char *in = buffer;
    image->end = tri_max64(image->end, at + (int64_t)bytes);
    while (bytes > 0) {
        size_t skip = (size_t)(at % IMAGE_PAGE_BYTES);
        size_t n = IMAGE_PAGE_BYTES - skip < bytes ? IMAGE_PAGE_BYTES - skip : bytes;
        char *page = image_page(image, at / IMAGE_PAGE_BYTES);
        if (page) memcpy(page + skip, in, n);
        if (!page) image->out_of_memory = true;
        at += (int64_t)n;
        in += n;
        bytes -= n;
    }
    return 0;
}

static herr_t image_truncate(H5FD_t *file, hid_t transfer, hbool_t closing)
{
    (void)transfer, (void)closing;
    image_of(file)->image->end = (int64_t)image_of(file)->allocated;
    return 0;
}

static const H5FD_class_t image_driver = {
#if H5_VERSION_GE(1, 14, 0)
    .version = H5FD_CLASS_VERSION,
    .value = IMAGE_DRIVER,
#endif
    .name = "trireme image",
    .maxaddr = (haddr_t)INT64_MAX,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(image_info),
    .open = image_open,
    .close = image_close,
    .query = image_query,
    .get_eoa = image_get_eoa,
    .set_eoa = image_set_eoa,
    .get_eof = image_get_eof,
    .read = image_read,
    .write = image_write,
    .truncate = image_truncate,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

tri_status tri_h5_image_create(tri_h5_image **out)
{
    return TRI_NEW(out);
}

void tri_h5_image_destroy(tri_h5_image **image)
{
    if (!*image) return;
    for (int64_t c = 0; c < (*image)->n_chunks; c++) {
        image_chunk *chunk = (*image)->chunks[c];
        for (int i = 0; chunk && i < IMAGE_CHUNK_PAGES; i++)
            TRI_FREE(chunk->page[i]);
        TRI_FREE((*image)->chunks[c]);
    }
    TRI_FREE((*image)->chunks);
    if ((*image)->driver > 0) H5Idec_ref((*image)->driver);
    TRI_FREE(*image);
}

herr_t tri_h5_image_use(tri_h5_image *image, hid_t access)
{
    /* Ours as long as the image: a file that held the last reference would free the driver's table
     * and then call its close (H5FD_close, all releases to 1.14). */
    image->driver = H5FDregister(&image_driver);
    if (image->driver < 0) return -1;
    image_info info = {.image = image};
    if (H5Pset_driver(access, image->driver, &info) < 0) return -1;
    return H5Pset_meta_block_size(access, IMAGE_METADATA_BYTES);
}

tri_status tri_h5_image_check(const tri_h5_image *image, const char *path, int64_t *bytes)
{
    TRI_CHECK(!image->out_of_memory, TRI_ENOMEM, "building the HDF5 structures of %s", path);
    *bytes = image->end;
    return TRI_OK;
}

static tri_status image_write_page(int fd, const char *path, const char *page, int64_t n,
                                   int64_t at)
{
    for (int64_t done = 0; done < n;) {
        ssize_t wrote = pwrite(fd, page + done, (size_t)(n - done), at + done);
        if (wrote < 0 && errno == EINTR) continue;
        TRI_TRY(TRI_SYS(wrote, "writing %lld bytes at offset %lld of %s", (long long)(n - done),
                        (long long)(at + done), path));
        TRI_CHECK(wrote > 0, TRI_EIO, "writing to %s: nothing was taken", path);
        done += wrote;
    }
    return TRI_OK;
}

tri_status tri_h5_image_write(const tri_h5_image *image, int fd, const char *path)
{
    int64_t bytes = 0;
    TRI_TRY(tri_h5_image_check(image, path, &bytes));
    TRI_TRY(TRI_SYS(ftruncate(fd, image->end), "making %s %lld bytes long", path,
                    (long long)image->end));
    for (int64_t c = 0; c < image->n_chunks; c++) {
        for (int i = 0; image->chunks[c] && i < IMAGE_CHUNK_PAGES; i++) {
            const char *page = image->chunks[c]->page[i];
            int64_t at = (c * IMAGE_CHUNK_PAGES + i) * IMAGE_PAGE_BYTES;
            int64_t n = tri_min64(IMAGE_PAGE_BYTES, image->end - at);
            if (page) TRI_TRY(image_write_page(fd, path, page, n, at));
        }
    }
    return TRI_OK;
}
