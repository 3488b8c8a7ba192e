// SPDX-License-Identifier: Apache-2.0
/* Files: no call here is interrupted, partial or unsynced without being noticed. */
#include "checkpoint/disk.h"

#include "runtime/base/alloc.h"
#include "runtime/base/crc.h"
#include "runtime/base/int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Linux takes at most 2 GiB - 4 KiB in one call. */
enum { DISK_CALL_BYTES = 1 << 30 };

void tri_disk_fd_destroy(tri_disk_fd *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

tri_status tri_disk_path(char out[TRI_DISK_PATH_BYTES], const char *folder, const char *name,
                         const char *suffix)
{
    int n = snprintf(out, TRI_DISK_PATH_BYTES, "%s/%s%s", folder, name, suffix);
    TRI_CHECK(n > 0 && n < TRI_DISK_PATH_BYTES, TRI_EINVAL, "path %.64s... is longer than %d bytes",
              folder, TRI_DISK_PATH_BYTES - 1);
    return TRI_OK;
}

static tri_status disk_size(int fd, const char *path, int64_t *bytes)
{
    struct stat about;
    TRI_TRY(TRI_SYS(fstat(fd, &about), "reading the size of %s", path));
    TRI_CHECK(S_ISREG(about.st_mode), TRI_EIO, "opening %s: not a regular file", path);
    if (bytes) *bytes = about.st_size;
    return TRI_OK;
}

tri_status tri_disk_open(const char *path, bool writing, tri_disk_fd *fd, int64_t *bytes)
{
    int opened = open(path, (writing ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    TRI_TRY(TRI_SYS(opened, "opening %s", path));
    tri_status rc = disk_size(opened, path, bytes);
    if (rc == TRI_OK)
        *fd = opened;
    else
        close(opened);
    return rc;
}

tri_status tri_disk_create(const char *path, bool is_shared, tri_disk_fd *fd)
{
    int opened = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (is_shared ? 0 : O_EXCL), 0666);
    TRI_TRY(TRI_SYS(opened, "creating %s", path));
    *fd = opened;
    return TRI_OK;
}

tri_status tri_disk_reserve(int fd, const char *path, int64_t n_bytes)
{
    int rc = 0;
    while ((rc = fallocate(fd, 0, 0, n_bytes)) == -1 && errno == EINTR)
        continue;
    bool cannot = rc == -1 && (errno == EOPNOTSUPP || errno == ENOSYS);
    if (cannot || n_bytes == 0) rc = ftruncate(fd, n_bytes);
    return TRI_SYS(rc, "making %s %lld bytes long", path, (long long)n_bytes);
}

void tri_disk_write_behind(int fd, int64_t offset, int64_t n_bytes)
{
    (void)sync_file_range(fd, offset, n_bytes, SYNC_FILE_RANGE_WRITE);
}

tri_status tri_disk_write(int fd, const char *path, const void *data, int64_t n_bytes,
                          int64_t offset)
{
    int64_t done = 0;
    while (done < n_bytes) {
        size_t piece = (size_t)tri_min64(n_bytes - done, DISK_CALL_BYTES);
        ssize_t n = pwrite(fd, (const char *)data + done, piece, offset + done);
        if (n < 0 && errno == EINTR) continue;
        TRI_TRY(TRI_SYS(n, "writing %zu bytes at offset %lld of %s", piece,
                        (long long)(offset + done), path));
        TRI_CHECK(n > 0, TRI_EIO, "writing %zu bytes at offset %lld of %s: nothing was taken",
                  piece, (long long)(offset + done), path);
        done += n;
    }
    return TRI_OK;
}

tri_status tri_disk_read(int fd, const char *path, void *data, int64_t n_bytes, int64_t offset)
{
    int64_t done = 0;
    while (done < n_bytes) {
        size_t piece = (size_t)tri_min64(n_bytes - done, DISK_CALL_BYTES);
        ssize_t n = pread(fd, (char *)data + done, piece, offset + done);
        if (n < 0 && errno == EINTR) continue;
        TRI_TRY(TRI_SYS(n, "reading %zu bytes at offset %lld of %s", piece,
                        (long long)(offset + done), path));
        TRI_CHECK(n > 0, TRI_EFORMAT, "%s ends at byte %lld, %lld bytes before its content does",
                  path, (long long)(offset + done), (long long)(n_bytes - done));
        done += n;
    }
    return TRI_OK;
}

static void disk_buffer_destroy(char **buffer)
{
    TRI_FREE(*buffer);
}

typedef char *disk_buffer;

tri_status tri_disk_crc(int fd, const char *path, int64_t begin, int64_t end, uint32_t *crc)
{
    TRI_AUTO(disk_buffer) buffer = NULL;
    int64_t piece = tri_min64(end - begin, TRI_DISK_PIECE_BYTES);
    if (piece <= 0) return TRI_OK;
    TRI_TRY(TRI_NEW_ARRAY(piece, &buffer));
    uint32_t sum = *crc;
    for (int64_t at = begin; at < end; at += piece) {
        int64_t n = tri_min64(piece, end - at);
        TRI_TRY(tri_disk_read(fd, path, buffer, n, at));
        sum = tri_crc32c_extend(sum, buffer, (size_t)n);
    }
    *crc = sum;
    return TRI_OK;
}

tri_status tri_disk_sync(int fd, const char *path)
{
    struct stat about;
    TRI_TRY(TRI_SYS(fsync(fd), "syncing %s to disk", path));
    TRI_TRY(TRI_SYS(fstat(fd, &about), "syncing %s to disk", path));
    TRI_CHECK(about.st_nlink > 0, TRI_EIO, "%s was removed while it was written", path);
    return TRI_OK;
}

tri_status tri_disk_sync_folder(const char *folder)
{
    TRI_AUTO(tri_disk_fd) fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    TRI_TRY(TRI_SYS(fd, "opening folder %s", folder));
    return TRI_SYS(fsync(fd), "syncing folder %s to disk", folder);
}

tri_status tri_disk_publish(const char *folder, const char *name)
{
    char from[TRI_DISK_PATH_BYTES];
    char to[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(from, folder, name, TRI_DISK_TEMPORARY));
    TRI_TRY(tri_disk_path(to, folder, name, ""));
    TRI_TRY(TRI_SYS(rename(from, to), "renaming %s to %s", from, to));
    return tri_disk_sync_folder(folder);
}

tri_status tri_disk_free_bytes(const char *folder, int64_t *n_bytes)
{
    struct statvfs about;
    TRI_TRY(TRI_SYS(statvfs(folder, &about), "asking for the free space of %s", folder));
    uint64_t unit = about.f_frsize ? about.f_frsize : about.f_bsize;
    bool is_known = about.f_blocks > 0 && unit > 0;
    uint64_t most = is_known ? INT64_MAX / unit : 0;
    uint64_t units = about.f_bavail < most ? about.f_bavail : most;
    *n_bytes = is_known ? (int64_t)(units * unit) : -1;
    return TRI_OK;
}

tri_status tri_disk_make_folder(const char *path)
{
    char part[TRI_DISK_PATH_BYTES];
    size_t n = strlen(path);
    TRI_CHECK(n > 0 && n < sizeof part, TRI_EINVAL, "folder '%.64s' is no usable path", path);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) == 0 || errno == EEXIST) continue;
        TRI_TRY(TRI_SYS(-1, "making folder %s", part));
    }
    struct stat about;
    TRI_TRY(TRI_SYS(stat(path, &about), "making folder %s", path));
    TRI_CHECK(S_ISDIR(about.st_mode), TRI_EIO, "making folder %s: a file of this name is there",
              path);
    return TRI_OK;
}
