// SPDX-License-Identifier: Apache-2.0
/* Event files without TensorFlow. A record is: length (u64), masked CRC32C of the length, data,
 * masked CRC32C of the data, all little-endian. The data are a protobuf Event: wall_time (1, double),
 * step (2, varint), file_version (3, string) in the first record, summary (5) in the others; a
 * Summary is values (1) of tag (1, string) and simple_value (2, float).
 *
 * The file has a fixed name and is cut on resume, so that readers see each step once.
 */
#include "runtime/metrics/tensorboard.h"

#include "runtime/base/alloc.h"
#include "runtime/base/crc.h"

#include <assert.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are little-endian");

enum {
    RECORD_HEAD_BYTES = 12,
    RECORD_TAIL_BYTES = 4,
    VALUE_BYTES = TRI_SCALAR_TAG_BYTES + 16,
    RECORD_MAX_BYTES = 64 + TRI_TENSORBOARD_MAX_SCALARS * VALUE_BYTES
};
enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct tri_tensorboard {
    char *path;
    int fd;
    int64_t end; /* size of the file: whole records */
};

/* A message being encoded, behind room for the head of its record. */
typedef struct message {
    size_t bytes;
    unsigned char data[RECORD_HEAD_BYTES + RECORD_MAX_BYTES + RECORD_TAIL_BYTES];
} message;

static void put_raw(message *m, const void *data, size_t bytes)
{
    assert(m->bytes + bytes <= sizeof m->data - RECORD_TAIL_BYTES);
    memcpy(m->data + m->bytes, data, bytes);
    m->bytes += bytes;
}

static void put_varint(message *m, uint64_t value)
{
    unsigned char out[10];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        out[n++] = (unsigned char)(value | 0x80);
    out[n++] = (unsigned char)value;
    put_raw(m, out, n);
}

static void put_key(message *m, unsigned field, unsigned wire)
{
    put_varint(m, field << 3 | wire);
}

static void put_string(message *m, unsigned field, const char *text)
{
    put_key(m, field, WIRE_BYTES);
    put_varint(m, strlen(text));
    put_raw(m, text, strlen(text));
}

static void put_time_and_step(message *m, int64_t step)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double wall_time = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    m->bytes = RECORD_HEAD_BYTES;
    put_key(m, 1, WIRE_FIXED64);
    put_raw(m, &wall_time, sizeof wall_time);
    put_key(m, 2, WIRE_VARINT);
    put_varint(m, (uint64_t)step);
}

static uint32_t masked_crc(const void *data, size_t bytes)
{
    uint32_t crc = tri_crc32c(data, bytes);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* Frame the message and append it in one write. A short write (full disk) is cut off again. */
static tri_status board_append(tri_tensorboard *board, message *m)
{
    uint64_t length = m->bytes - RECORD_HEAD_BYTES;
    uint32_t length_crc = masked_crc(&length, sizeof length);
    uint32_t data_crc = masked_crc(m->data + RECORD_HEAD_BYTES, (size_t)length);
    memcpy(m->data, &length, sizeof length);
    memcpy(m->data + 8, &length_crc, sizeof length_crc);
    memcpy(m->data + m->bytes, &data_crc, sizeof data_crc);
    size_t bytes = m->bytes + RECORD_TAIL_BYTES;
    ssize_t written = write(board->fd, m->data, bytes);
    if (written != (ssize_t)bytes) {
        tri_status rc =
            TRI_SYS(written < 0 ? -1 : 0, "appending %zu bytes to %s", bytes, board->path);
        int cut = ftruncate(board->fd, board->end);
        TRI_TRY(rc);
        TRI_FAIL(TRI_EIO, "appending to %s: %zd of %zu bytes were written (disk full?)%s",
                 board->path, written, bytes, cut ? "; the rest could not be cut off" : "");
    }
    board->end += (int64_t)bytes;
    return TRI_OK;
}

/* Read a varint at *at < end; false where it does not end. */
static bool get_varint(const unsigned char *data, size_t end, size_t *at, uint64_t *out)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && *at < end; shift += 7) {
        unsigned char byte = data[(*at)++];
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

/* Step of an event of ours: wall_time, then step. */
static bool event_step(const unsigned char *data, size_t bytes, int64_t *out)
{
    size_t at = 9;
    uint64_t key = 0;
    uint64_t step = 0;
    if (bytes < 11 || data[0] != (1 << 3 | WIRE_FIXED64)) return false;
    if (!get_varint(data, bytes, &at, &key) || key != (2 << 3 | WIRE_VARINT)) return false;
    if (!get_varint(data, bytes, &at, &step)) return false;
    *out = (int64_t)step;
    return true;
}

/* Read the record at board->end; false where it is not whole. Writes: step, bytes of the record. */
static bool board_read_record(const tri_tensorboard *board, int64_t *step, int64_t *bytes)
{
    message m;
    uint64_t length = 0;
    uint32_t crc = 0;
    if (pread(board->fd, m.data, RECORD_HEAD_BYTES, board->end) != RECORD_HEAD_BYTES) return false;
    memcpy(&length, m.data, sizeof length);
    memcpy(&crc, m.data + 8, sizeof crc);
    if (length > RECORD_MAX_BYTES || crc != masked_crc(&length, sizeof length)) return false;
    size_t rest = (size_t)length + RECORD_TAIL_BYTES;
    if (pread(board->fd, m.data, rest, board->end + RECORD_HEAD_BYTES) != (ssize_t)rest)
        return false;
    memcpy(&crc, m.data + length, sizeof crc);
    if (crc != masked_crc(m.data, (size_t)length)) return false;
    *bytes = (int64_t)rest + RECORD_HEAD_BYTES;
    return event_step(m.data, (size_t)length, step);
}

/* Find the end of what a resumed run keeps, and cut there. */
static tri_status board_cut(tri_tensorboard *board, int64_t resume_step)
{
    struct stat info;
    TRI_TRY(TRI_SYS(fstat(board->fd, &info), "looking at the size of %s", board->path));
    int64_t step = 0;
    int64_t bytes = 0;
    while (board_read_record(board, &step, &bytes)) {
        if (board->end > 0 && step > resume_step) break;
        board->end += bytes;
    }
    TRI_CHECK(board->end > 0 || info.st_size < RECORD_HEAD_BYTES || resume_step < 0, TRI_EFORMAT,
              "%s is no event file of this program: it does not begin with a whole record; move it "
              "away",
              board->path);
    TRI_TRY(TRI_SYS(ftruncate(board->fd, board->end), "cutting %s to %lld bytes", board->path,
                    (long long)board->end));
    return TRI_OK;
}

tri_status tri_tensorboard_open(const char *path, int64_t resume_step, tri_tensorboard **out)
{
    TRI_AUTO(tri_tensorboard) *board = NULL;
    TRI_TRY(TRI_NEW(&board));
    board->fd = -1;
    TRI_TRY(tri_alloc_string(path, &board->path));
    board->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    TRI_TRY(TRI_SYS(board->fd, "opening %s for writing", path));
    TRI_TRY(board_cut(board, resume_step));
    if (board->end == 0) {
        message m;
        put_time_and_step(&m, 0);
        put_string(&m, 3, "brain.Event:2");
        TRI_TRY(board_append(board, &m));
    }
    *out = TRI_MOVE(board);
    return TRI_OK;
}

tri_status tri_tensorboard_write(tri_tensorboard *board, int64_t step, int n,
                                 const tri_scalar *scalars)
{
    assert(n <= TRI_TENSORBOARD_MAX_SCALARS);
    size_t summary_bytes = 0;
    for (int i = 0; i < n; i++) {
        assert(strlen(scalars[i].tag) <= TRI_SCALAR_TAG_BYTES);
        if (isfinite(scalars[i].value)) summary_bytes += 2 + 2 + strlen(scalars[i].tag) + 5;
    }
    message m;
    put_time_and_step(&m, step);
    put_key(&m, 5, WIRE_BYTES);
    put_varint(&m, summary_bytes);
    for (int i = 0; i < n; i++) {
        if (!isfinite(scalars[i].value)) continue;
        put_key(&m, 1, WIRE_BYTES);
        put_varint(&m, 2 + strlen(scalars[i].tag) + 5);
        put_string(&m, 1, scalars[i].tag);
        put_key(&m, 2, WIRE_FIXED32);
        put_raw(&m, &scalars[i].value, sizeof scalars[i].value);
    }
    TRI_TRY(board_append(board, &m));
    return TRI_OK;
}

tri_status tri_tensorboard_sync(tri_tensorboard *board)
{
    TRI_TRY(TRI_SYS(fsync(board->fd), "flushing %s to disk", board->path));
    return TRI_OK;
}

void tri_tensorboard_destroy(tri_tensorboard **board)
{
    if (!*board) return;
    if ((*board)->fd >= 0) close((*board)->fd);
    TRI_FREE((*board)->path);
    TRI_FREE(*board);
}
