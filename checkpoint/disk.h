// SPDX-License-Identifier: Apache-2.0
/* Files as the checkpoint needs them: whole reads and writes at offsets, and publication, in which a
 * name appears only when all bytes under it are on the disk: write NAME.tmp, fsync, rename, fsync of
 * the folder.
 */
#ifndef TRI_CHECKPOINT_DISK_H
#define TRI_CHECKPOINT_DISK_H

#include "runtime/base/status.h"

enum { TRI_DISK_PATH_BYTES = 1024, TRI_DISK_PIECE_BYTES = 1 << 20 };

/* What a file that is being written is called until it is published: its name and this. */
#define TRI_DISK_TEMPORARY ".tmp"

/* An open file that its scope closes: TRI_AUTO(tri_disk_fd) fd = -1; */
typedef int tri_disk_fd;
/* Close; -1 is fine. Not collective. */
void tri_disk_fd_destroy(tri_disk_fd *fd);

/* out = FOLDER/NAME and SUFFIX. Not collective. Errors: TRI_EINVAL longer than the system takes. */
TRI_MUST_USE tri_status tri_disk_path(char out[TRI_DISK_PATH_BYTES], const char *folder,
                                      const char *name, const char *suffix);

/* Open an existing file. Not collective. Writes: *fd, *bytes (its size; may be NULL). Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_disk_open(const char *path, bool writing, tri_disk_fd *fd,
                                      int64_t *bytes);

/* Open a new file for writing; `is_shared`: another process may have made it. Not collective. Errors:
 * TRI_EIO. */
TRI_MUST_USE tri_status tri_disk_create(const char *path, bool is_shared, tri_disk_fd *fd);

/* Make a file this long and have the file system set space aside for it, where it can; what is added reads
 * as zeros. Not collective. Errors: TRI_EIO, as where the disk is too small. */
TRI_MUST_USE tri_status tri_disk_reserve(int fd, const char *path, int64_t n_bytes);

/* Begin to bring bytes [offset, offset + n_bytes) to the disk, so that the sync at the end need not wait for
 * all of them. A hint: what goes wrong shows in tri_disk_sync. Not collective. */
void tri_disk_write_behind(int fd, int64_t offset, int64_t n_bytes);

/* Write or read all of it at `offset`. Not collective. Errors: TRI_EIO; reading: TRI_EFORMAT where the
 * file ends before. */
TRI_MUST_USE tri_status tri_disk_write(int fd, const char *path, const void *data, int64_t n_bytes,
                                       int64_t offset);
TRI_MUST_USE tri_status tri_disk_read(int fd, const char *path, void *data, int64_t n_bytes,
                                      int64_t offset);

/* *crc = CRC32C of what *crc covers followed by bytes [begin, end) of the file. Not collective. */
TRI_MUST_USE tri_status tri_disk_crc(int fd, const char *path, int64_t begin, int64_t end,
                                     uint32_t *crc);

/* Wait until the bytes of a file are on the disk; a full disk may show only here. Not collective. Errors:
 * TRI_EIO, also where the file has lost its name since it was opened. */
TRI_MUST_USE tri_status tri_disk_sync(int fd, const char *path);

/* Wait until the names in a folder are on the disk. Not collective. */
TRI_MUST_USE tri_status tri_disk_sync_folder(const char *folder);

/* Rename FOLDER/NAME.tmp, which is synced, to NAME, and sync the folder. Not collective. */
TRI_MUST_USE tri_status tri_disk_publish(const char *folder, const char *name);

/* Bytes that a user may still write where `folder` lies; -1: the file system does not say. Not collective.
 * Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_disk_free_bytes(const char *folder, int64_t *n_bytes);

/* Make a folder and those above it; those that are there are fine. Not collective. */
TRI_MUST_USE tri_status tri_disk_make_folder(const char *path);

#endif
