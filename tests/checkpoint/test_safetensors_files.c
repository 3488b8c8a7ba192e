// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1
/* Safetensors files that break the format in one way each, and indices that are not of their files. */
#include "checkpoint/safetensors_files.h"

#include "tests/checkpoint/safetensors.h"

static tri_status st_refused(const st_place *place, const char *header, int64_t data_bytes,
                             const char *part)
{
    tri_safetensors_files *files = NULL;
    TRI_TRY(st_write(place->ckpt, header, data_bytes));
    EXPECT_STATUS(tri_safetensors_files_open(place->ckpt, &files), TRI_EFORMAT, part);
    EXPECT(!files, "%s was opened", header);
    return TRI_OK;
}

#define REFUSED(...) TRI_TRY(st_refused(&place, __VA_ARGS__))

TRI_TEST(headers_that_break_the_format_are_refused)
{
    st_place place;
    TRI_TRY(st_begin(&place));
    REFUSED("[]", 0, "does not begin with {");
    REFUSED(" {}", 0, "does not begin with {");
    REFUSED("{\"a\":1}", 0, "'a': it is not described");
    REFUSED("{\"__metadata__\":[]}", 0, "__metadata__");
    REFUSED("{\"__metadata__\":{\"a\":1}}", 0, "__metadata__");
    REFUSED("{" ENTRY("a", "F31", "[1]", "[0,4]") "}", 4, "'F31' is no type");
    REFUSED("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "'none' is no type");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "no shape");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "two whole numbers");
    REFUSED("{" ENTRY("a", "F32", "[-1]", "[0,4]") "}", 4, "dimension 0");
    REFUSED("{" ENTRY("a", "F32", "[1.5]", "[0,4]") "}", 4, "dimension 0");
    REFUSED("{" ENTRY("a", "F32", "[9007199254740993]", "[0,4]") "}", 4, "dimension 0");
    REFUSED("{" ENTRY("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "more than 8");
    REFUSED("{" ENTRY("a", "F32", "[1]", "[0,8]") "}", 4, "not within the 4 bytes");
    REFUSED("{" ENTRY("a", "F32", "[1]", "[4,0]") "}", 4, "not within");
    REFUSED("{" ENTRY("a", "F32", "[1]", "[-4,0]") "}", 4, "not within");
    REFUSED("{" ENTRY("a", "F32", "[1]", "[0,4,8]") "}", 4, "two whole numbers");
    REFUSED("{" ENTRY("a", "F32", "[2]", "[0,4]") "}", 4, "not as far apart");
    REFUSED("{" ENTRY("a", "F32", "[4503599627370496,4503599627370496]", "[0,0]") "}", 0,
            "far apart");
    REFUSED("{" ENTRY("a", "F32", "[2305843009213693952,2]", "[0,0]") "}", 0, "dimension 0");
    REFUSED("{" ENTRY("a", "F4", "[3]", "[0,1]") "}", 1, "far apart");
    REFUSED("{" ENTRY("a", "F32", "[1]", "[0,4]") "}", 8, "the last 4 bytes");
    REFUSED("{" ENTRY("a", "F32", "[1]", "[4,8]") "}", 8, "behind the end");
    REFUSED("{" ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY("b", "F32", "[2]", "[4,12]") "}", 12,
            "'b' begins at byte");
    REFUSED("{" ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY("a", "F32", "[1]", "[8,12]") "}", 12,
            "'a' stands twice");
    REFUSED("{" ENTRY("a", "F32", "[1]", "[0,4]") "}x", 4, "follows");
    REFUSED("{" ENTRY("a", "F32", "[1]", "[0,4]"), 4, "not JSON");
    st_end(&place);
    return TRI_OK;
}

TRI_TEST(lengths_that_the_file_has_not_are_refused)
{
    static const struct {
        uint64_t length;
        int64_t bytes;
        const char *part;
    } cases[] = {
        {0,                 8,  "a header of 0 bytes in a file of 8" },
        {3,                 10, "a header of 3 bytes in a file of 10"},
        {2,                 7,  "has 7 bytes"                        },
        {100000001,         10, "the most are 100000000"             },
        {UINT64_MAX,        10, "the most are 100000000"             },
        {UINT64_C(1) << 63, 10, "the most are 100000000"             },
    };
    st_place place;
    TRI_TRY(st_begin(&place));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tri_safetensors_files *files = NULL;
        char bytes[16] = "";
        memcpy(bytes, &cases[i].length, sizeof cases[i].length);
        FILE *file = fopen(place.ckpt, "wb");
        TRI_CHECK(file, TRI_EBUG, "making %s", place.ckpt);
        fwrite(bytes, 1, (size_t)cases[i].bytes, file);
        fclose(file);
        EXPECT_STATUS(tri_safetensors_files_open(place.ckpt, &files), TRI_EFORMAT, cases[i].part);
    }
    st_end(&place);
    return TRI_OK;
}

static tri_status st_text(const char *folder, const char *name, const char *text)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    TRI_CHECK(file, TRI_EBUG, "making %s", path);
    fputs(text, file);
    fclose(file);
    return TRI_OK;
}

static tri_status st_index(const st_place *place, const char *index, tri_status code,
                           const char *part)
{
    TRI_AUTO(tri_safetensors_files) *files = NULL;
    TRI_TRY(st_text(place->out, TRI_SAFETENSORS_INDEX, index));
    EXPECT_STATUS(tri_safetensors_files_open(place->out, &files), code, part);
    return TRI_OK;
}

#define INDEX(...) TRI_TRY(st_index(&place, __VA_ARGS__))

TRI_TEST(an_index_must_be_that_of_its_files)
{
    st_place place;
    char path[160];
    TRI_TRY(st_begin(&place));
    TRI_TRY(tri_disk_make_folder(place.out));
    snprintf(path, sizeof path, "%s/1.safetensors", place.out);
    TRI_TRY(st_write(path, "{" ENTRY("a", "F32", "[1]", "[0,4]") "}", 4));
    snprintf(path, sizeof path, "%s/2.safetensors", place.out);
    TRI_TRY(st_write(path, "{" ENTRY("b", "F32", "[1]", "[0,4]") "}", 4));
    INDEX("{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}", TRI_OK, "");
    INDEX("{\"weight_map\":{\"a\":\"1.safetensors\"}}", TRI_OK, "");
    INDEX("{\"weight_map\":{\"b\":\"1.safetensors\",\"a\":\"2.safetensors\"}}", TRI_EFORMAT,
          "'a' is in 1.safetensors, not in 2.safetensors");
    INDEX("{\"weight_map\":{\"a\":\"1.safetensors\",\"c\":\"2.safetensors\"}}", TRI_EFORMAT,
          "does not have tensor 'b'");
    INDEX("{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\",\"c\":\"1."
          "safetensors\"}}",
          TRI_EFORMAT, "'c' is not in 1.safetensors");
    INDEX("{\"weight_map\":{\"a\":\"3.safetensors\"}}", TRI_EIO, "3.safetensors");
    INDEX("{\"weight_map\":{\"a\":\"../1.safetensors\"}}", TRI_EFORMAT, "no name of a file");
    INDEX("{\"weight_map\":{\"a\":\"/etc/passwd\"}}", TRI_EFORMAT, "no name of a file");
    INDEX("{\"weight_map\":{\"a\":1}}", TRI_EFORMAT, "no file name");
    INDEX("{\"weight_map\":{}}", TRI_EFORMAT, "no weight_map");
    INDEX("{\"weight_map\":[]}", TRI_EFORMAT, "no weight_map");
    INDEX("{}", TRI_EFORMAT, "no weight_map");
    INDEX("[]", TRI_EFORMAT, "{");
    INDEX("", TRI_EFORMAT, "0 bytes");
    tri_safetensors_files *files = NULL;
    TRI_TRY(st_text(place.out, TRI_SAFETENSORS_FILE, ""));
    EXPECT_STATUS(tri_safetensors_files_open(place.out, &files), TRI_EINVAL, "has both");
    EXPECT_STATUS(tri_safetensors_files_open(place.folder, &files), TRI_EIO, "has neither");
    st_end(&place);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(headers_that_break_the_format_are_refused),
              TRI_TEST_ROW(lengths_that_the_file_has_not_are_refused),
              TRI_TEST_ROW(an_index_must_be_that_of_its_files))
