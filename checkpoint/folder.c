// SPDX-License-Identifier: Apache-2.0
/* Listing, choosing and removing checkpoints. Only folders of our own naming are looked at, and only
 * files of our own naming are removed.
 */
#include "checkpoint/folder.h"

#include "checkpoint/disk.h"
#include "runtime/base/alloc.h"
#include "runtime/base/log.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLDER_UUID_CHARS = 36, FOLDER_LISTINGS = 8 };

typedef DIR *folder_stream;

static void folder_stream_destroy(folder_stream *stream)
{
    if (*stream) closedir(*stream);
}

void tri_folder_destroy(tri_folder *folder)
{
    TRI_FREE(folder->entries);
    folder->n = 0;
}

void tri_folder_name(int64_t step, const char *uuid, char out[TRI_FOLDER_NAME_BYTES])
{
    snprintf(out, TRI_FOLDER_NAME_BYTES, "step-%06" PRId64 ".%s", step, uuid);
}

/* step-DIGITS.UUID */
static bool folder_is_ours(const char *name)
{
    if (strncmp(name, "step-", 5) != 0 || strlen(name) >= TRI_FOLDER_NAME_BYTES) return false;
    const char *dot = name + 5 + strspn(name + 5, "0123456789");
    if (dot == name + 5 || *dot != '.' || strlen(dot + 1) != FOLDER_UUID_CHARS) return false;
    return strspn(dot + 1, "0123456789abcdef-") == FOLDER_UUID_CHARS;
}

/* shard-DIGITS.h5, universal.h5, manifest.h5, each also with .tmp */
static bool file_is_ours(const char *name)
{
    size_t n = strlen(name);
    size_t suffix = strlen(TRI_DISK_TEMPORARY);
    if (n > suffix && strcmp(name + n - suffix, TRI_DISK_TEMPORARY) == 0) n -= suffix;
    if (n == strlen(TRI_MANIFEST_NAME) && strncmp(name, TRI_MANIFEST_NAME, n) == 0) return true;
    if (n == strlen(TRI_MANIFEST_VIEW) && strncmp(name, TRI_MANIFEST_VIEW, n) == 0) return true;
    if (n < 10 || strncmp(name, "shard-", 6) != 0) return false;
    size_t digits = strspn(name + 6, "0123456789");
    return digits > 0 && 6 + digits + 3 == n && strncmp(name + 6 + digits, ".h5", 3) == 0;
}

static int folder_order(const void *a, const void *b)
{
    const tri_folder_entry *x = a;
    const tri_folder_entry *y = b;
    if (x->state != y->state) return x->state < y->state ? -1 : 1;
    int64_t i = x->header.sequence;
    int64_t k = y->header.sequence;
    return i != k ? (i < k) - (i > k) : strcmp(x->name, y->name);
}

/* Is there a file PATH/manifest.h5, of whatever kind? Where that cannot be said: yes. */
static bool folder_has_manifest(const char *path)
{
    char manifest[TRI_DISK_PATH_BYTES];
    struct stat about;
    if (tri_disk_path(manifest, path, TRI_MANIFEST_NAME, "") == TRI_OK)
        return lstat(manifest, &about) == 0 || errno != ENOENT;
    tri_err_clear();
    return true;
}

/* Is there a manifest, and is its header intact? A job may commit or delete it meanwhile: one that was not
 * there is not read, and one that is gone was not damaged. */
static void folder_look(const char *path, tri_folder_entry *entry)
{
    entry->state = TRI_FOLDER_LEFTOVER;
    if (!folder_has_manifest(path)) return;
    entry->state = TRI_FOLDER_COMMITTED;
    if (tri_manifest_peek(path, &entry->header) == TRI_OK) return;
    tri_err_take(&entry->error);
    entry->state = folder_has_manifest(path) ? TRI_FOLDER_DAMAGED : TRI_FOLDER_LEFTOVER;
}

static tri_status folder_add(const char *dir, const char *name, tri_folder *folder,
                             int64_t *capacity)
{
    char path[TRI_DISK_PATH_BYTES];
    struct stat link;
    struct stat about;
    if (!folder_is_ours(name)) return TRI_OK;
    TRI_TRY(tri_disk_path(path, dir, name, ""));
    if (lstat(path, &link) == -1 || stat(path, &about) == -1 || !S_ISDIR(about.st_mode))
        return TRI_OK;
    if (folder->n == *capacity) {
        TRI_TRY(tri_alloc_grow((void **)&folder->entries, folder->n, 2 * *capacity + 8,
                               sizeof *folder->entries));
        *capacity = 2 * *capacity + 8;
    }
    tri_folder_entry *entry = &folder->entries[folder->n];
    snprintf(entry->name, sizeof entry->name, "%s", name);
    entry->is_link = S_ISLNK(link.st_mode);
    folder_look(path, entry);
    if (entry->state == TRI_FOLDER_COMMITTED || access(path, F_OK) == 0)
        folder->n++;
    else
        *entry = (tri_folder_entry){.is_link = false}; /* it is being removed */
    return TRI_OK;
}

tri_status tri_folder_list(const char *dir, tri_folder *out)
{
    *out = (tri_folder){.n = 0};
    TRI_AUTO(folder_stream) stream = opendir(dir);
    if (!stream && errno == ENOENT) return TRI_OK;
    if (!stream) return TRI_SYS(-1, "listing the checkpoints in %s", dir);
    TRI_AUTO(tri_folder) folder = {0};
    int64_t capacity = 0;
    struct dirent *entry = NULL;
    while ((errno = 0, entry = readdir(stream)))
        TRI_TRY(folder_add(dir, entry->d_name, &folder, &capacity));
    TRI_TRY(TRI_SYS(errno ? -1 : 0, "listing the checkpoints in %s", dir));
    if (folder.n) qsort(folder.entries, (size_t)folder.n, sizeof *folder.entries, folder_order);
    out->n = folder.n;
    out->entries = TRI_MOVE(folder.entries);
    return TRI_OK;
}

/* A random (version 4) uuid. */
static tri_status folder_uuid(char out[TRI_MANIFEST_UUID_BYTES])
{
    unsigned char b[16];
    TRI_TRY(TRI_SYS(getrandom(b, sizeof b, 0) == (ssize_t)sizeof b ? 0 : -1,
                    "asking the system for 16 random bytes"));
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(out, TRI_MANIFEST_UUID_BYTES,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
    return TRI_OK;
}

tri_status tri_folder_begin(const char *dir, tri_manifest_head *head,
                            char path[TRI_CKPT_PATH_BYTES])
{
    TRI_AUTO(tri_folder) folder = {0};
    TRI_TRY(tri_folder_list(dir, &folder));
    head->sequence = 1;
    head->parent[0] = '\0';
    if (folder.n && folder.entries[0].state == TRI_FOLDER_COMMITTED) {
        head->sequence = folder.entries[0].header.sequence + 1;
        snprintf(head->parent, sizeof head->parent, "%s", folder.entries[0].header.uuid);
    }
    /* damaged ones may be newer, and be mended */
    for (int64_t i = 0; i < folder.n; i++)
        head->sequence += folder.entries[i].state == TRI_FOLDER_DAMAGED;
    TRI_TRY(folder_uuid(head->uuid));
    char name[TRI_FOLDER_NAME_BYTES];
    tri_folder_name(head->step, head->uuid, name);
    TRI_TRY(tri_disk_path(path, dir, name, ""));
    TRI_TRY(TRI_SYS(mkdir(path, 0777), "making folder %s", path));
    return tri_disk_sync_folder(dir);
}

static tri_status folder_unlink(const char *folder, const char *name)
{
    char path[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(path, folder, name, ""));
    if (unlink(path) == 0 || errno == ENOENT) return TRI_OK;
    return TRI_SYS(-1, "removing %s", path);
}

tri_status tri_folder_remove(const char *dir, const char *name, const tri_ckpt_hook *hook)
{
    char path[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(path, dir, name, ""));
    if (access(path, F_OK) == -1 && errno == ENOENT) return TRI_OK;
    TRI_TRY(folder_unlink(path, TRI_MANIFEST_NAME));
    TRI_TRY(tri_disk_sync_folder(path));
    if (hook && hook->at) hook->at(hook->arg, TRI_CKPT_AT_PRUNING);
    TRI_AUTO(folder_stream) stream = opendir(path);
    if (!stream) return TRI_SYS(-1, "listing %s", path);
    struct dirent *entry = NULL;
    while ((entry = readdir(stream)))
        if (file_is_ours(entry->d_name)) TRI_TRY(folder_unlink(path, entry->d_name));
    if (rmdir(path) == 0 || errno == ENOENT) return TRI_OK;
    return errno == ENOTEMPTY ? TRI_OK : TRI_SYS(-1, "removing folder %s", path);
}

/* Does it go, as number `newer` of those that are committed? */
static bool folder_is_old(const tri_folder_entry *entry, int64_t newer, int keep,
                          int64_t keep_every)
{
    if (entry->state != TRI_FOLDER_COMMITTED || keep == 0 || newer < keep) return false;
    return keep_every == 0 || entry->header.step % keep_every != 0;
}

static void folder_warn(tri_status rc)
{
    if (rc == TRI_OK) return;
    tri_log(TRI_LOG_WARN, "an old checkpoint stays: %s", tri_err_last()->text);
    tri_err_clear();
}

void tri_folder_prune(const char *dir, int keep, int64_t keep_every, const tri_ckpt_hook *hook)
{
    TRI_AUTO(tri_folder) folder = {0};
    folder_warn(tri_folder_list(dir, &folder));
    for (int64_t i = 0; i < folder.n; i++) {
        const tri_folder_entry *entry = &folder.entries[i];
        bool goes =
            folder_is_old(entry, i, keep, keep_every) || entry->state == TRI_FOLDER_LEFTOVER;
        if (goes && !entry->is_link) folder_warn(tri_folder_remove(dir, entry->name, hook));
    }
}

/* Are all files there in their sizes? */
static tri_status folder_check_files(const tri_manifest *m, const char *path)
{
    for (int64_t i = 0; i < m->head.n_files; i++) {
        char file[TRI_DISK_PATH_BYTES];
        struct stat about;
        TRI_TRY(tri_disk_path(file, path, m->files[i].name, ""));
        bool is_there = stat(file, &about) == 0;
        TRI_CHECK(is_there || errno != ENOENT, TRI_EFORMAT,
                  "%s is not there, the manifest says that it has %lld bytes", file,
                  (long long)m->files[i].bytes);
        TRI_TRY(TRI_SYS(is_there ? 0 : -1, "looking for %s", file));
        TRI_CHECK(about.st_size == m->files[i].bytes, TRI_EFORMAT,
                  "%s has %lld bytes, the manifest says %lld", file, (long long)about.st_size,
                  (long long)m->files[i].bytes);
    }
    return TRI_OK;
}

tri_status tri_folder_read(const char *path, tri_manifest **out)
{
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_manifest_read(path, &m));
    TRI_TRY(folder_check_files(m, path));
    *out = TRI_MOVE(m);
    return TRI_OK;
}

/* A damaged checkpoint, or one of a later version, may be passed over. What cannot be read for another reason
 * (a failing disk, no memory, no permission) is a failure: an older one would not help, and taking it
 * would throw work away. */
static bool folder_is_passed(tri_status rc)
{
    return rc == TRI_EFORMAT || rc == TRI_EUNSUP;
}

/* Look through one listing. Writes: *n_damaged, *n_vanished, and *out if one is usable. */
static tri_status folder_choose(const char *dir, int64_t below, char path[TRI_CKPT_PATH_BYTES],
                                int64_t *n_damaged, int64_t *n_vanished, tri_manifest **out)
{
    TRI_AUTO(tri_folder) folder = {0};
    TRI_TRY(tri_folder_list(dir, &folder));
    *n_damaged = 0;
    *n_vanished = 0;
    for (int64_t i = 0; i < folder.n; i++) {
        if (folder.entries[i].state != TRI_FOLDER_DAMAGED) continue;
        if (!folder_is_passed(folder.entries[i].error.code))
            return tri_err_put(&folder.entries[i].error);
        ++*n_damaged;
        tri_log(TRI_LOG_WARN, "checkpoint %s is passed over: %s", folder.entries[i].name,
                folder.entries[i].error.text);
    }
    for (int64_t i = 0; i < folder.n && folder.entries[i].state == TRI_FOLDER_COMMITTED; i++) {
        const tri_folder_entry *entry = &folder.entries[i];
        if (below >= 0 && entry->header.sequence >= below) continue;
        TRI_TRY(tri_disk_path(path, dir, entry->name, ""));
        tri_status rc = tri_folder_read(path, out);
        if (rc == TRI_OK) return TRI_OK;
        if (folder_has_manifest(path)) {
            if (!folder_is_passed(rc)) return rc;
            ++*n_damaged;
            tri_log(TRI_LOG_WARN, "checkpoint %s is passed over: %s", entry->name,
                    tri_err_last()->text);
        } else {
            ++*n_vanished;
        }
        tri_err_clear();
    }
    return TRI_OK;
}

tri_status tri_folder_find(const char *dir, int64_t below, char path[TRI_CKPT_PATH_BYTES],
                           tri_manifest **out)
{
    int64_t n_damaged = 0;
    int64_t n_vanished = 1;
    *out = NULL;
    /* A job that deletes old checkpoints has made newer ones. */
    for (int i = 0; i < FOLDER_LISTINGS && n_vanished > 0 && !*out; i++)
        TRI_TRY(folder_choose(dir, below, path, &n_damaged, &n_vanished, out));
    TRI_CHECK(
        *out || below >= 0 || n_damaged == 0, TRI_EFORMAT,
        "none of the %lld checkpoint(s) in %s can be used, see the warnings: bring a sound one "
        "back, or start afresh in another run folder",
        (long long)n_damaged, dir);
    return TRI_OK;
}
