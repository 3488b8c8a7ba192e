// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1
#include "runtime/json.h"

#include "tests/test.h"

static tri_status parse(const char *text, tri_json **out)
{
    return tri_json_parse(text, strlen(text), "here", out);
}

static void refuse(const char *text, const char *part)
{
    tri_json *json = NULL;
    EXPECT_STATUS(parse(text, &json), TRI_EFORMAT, part);
    EXPECT(!json, "%s left a tree", text);
}

TRI_TEST(values_come_back)
{
    TRI_AUTO(tri_json) *json = NULL;
    TRI_TRY(
        parse(" {\"a\": [1, -2.5, 1e3], \"b\\\"\\u00e4\": \"x\\ny\", \"c\": true, \"d\": null} \n",
              &json));
    const tri_json_value *root = tri_json_root(json);
    EXPECT(tri_json_kind_of(root) == TRI_JSON_MAP && tri_json_count(root) == 4, "%lld values",
           (long long)tri_json_count(root));
    const tri_json_value *a = tri_json_find(root, "a");
    EXPECT(a && tri_json_kind_of(a) == TRI_JSON_LIST && tri_json_count(a) == 3, "a is no list");
    int64_t n = 0;
    const tri_json_value *item = tri_json_first(a);
    EXPECT(tri_json_integer(item, &n) && n == 1, "a[0] is %lld", (long long)n);
    item = tri_json_next(item);
    EXPECT(!tri_json_integer(item, &n) && tri_json_number(item) == -2.5, "a[1]");
    item = tri_json_next(item);
    EXPECT(tri_json_integer(item, &n) && n == 1000, "a[2] is %lld", (long long)n);
    const tri_json_value *b = tri_json_next(a);
    EXPECT(strcmp(tri_json_key(b), "b\"\xc3\xa4") == 0, "the key is %s", tri_json_key(b));
    EXPECT(strcmp(tri_json_text(b), "x\ny") == 0, "the text is %s", tri_json_text(b));
    EXPECT(tri_json_is_true(tri_json_find(root, "c")), "c is not true");
    EXPECT(tri_json_kind_of(tri_json_find(root, "d")) == TRI_JSON_NULL, "d is not null");
    EXPECT(!tri_json_find(root, "A"), "keys have no case");
    return TRI_OK;
}

TRI_TEST(integers_beyond_a_double_are_none)
{
    static const struct {
        const char *text;
        bool fits;
    } cases[] = {
        {"9007199254740991",     true },
        {"-9007199254740991",    true },
        {"9007199254740992",     false},
        {"9007199254740993",     false},
        {"18446744073709551617", false},
        {"1.5",                  false},
        {"true",                 false},
        {"\"1\"",                false},
        {"0",                    true }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TRI_AUTO(tri_json) *json = NULL;
        int64_t n = -7;
        TRI_TRY(parse(cases[i].text, &json));
        EXPECT(tri_json_integer(tri_json_root(json), &n) == cases[i].fits, "%s", cases[i].text);
        EXPECT(cases[i].fits || n == -7, "%s was written", cases[i].text);
    }
    return TRI_OK;
}

TRI_TEST(what_is_no_json_is_refused)
{
    refuse("", "not JSON");
    refuse("{", "not JSON");
    refuse("{\"a\": 1", "not JSON");
    refuse("{\"a\": 1}}", "follows");
    refuse("{\"a\": 1} x", "follows");
    refuse("{\"a\": 1, \"b\": 2, \"a\": 3}", "'a' stands twice");
    refuse("{\"x\": {\"a\": 1, \"\\u0061\": 3}}", "'a' stands twice");
    refuse("{\"a\": 1e999}", "too large");
    refuse("[\"a\\u0000b\"]", "character 0");
    refuse("[\"\xff\"]", "UTF-8");
    refuse("[\"\xc0\x80\"]", "UTF-8");
    refuse("[\"\xed\xa0\x80\"]", "UTF-8");
    refuse("[\"\xe2\x82\"]", "UTF-8");
    refuse("[\"a\nb\"]", "UTF-8");
    refuse("[1,\x01 2]", "control");
    tri_json *json = NULL;
    EXPECT_STATUS(tri_json_parse("[1]\0", 4, "here", &json), TRI_EFORMAT, "control");
    return TRI_OK;
}

static tri_status repeated(const char *piece, int64_t n, char **out)
{
    size_t bytes = strlen(piece);
    TRI_TRY(TRI_NEW_ARRAY(n * (int64_t)bytes + 1, out));
    for (int64_t i = 0; i < n; i++)
        memcpy(*out + (size_t)i * bytes, piece, bytes);
    return TRI_OK;
}

TRI_TEST(too_much_is_refused_before_it_is_parsed)
{
    char *deep = NULL;
    char *many = NULL;
    TRI_TRY(repeated("[", 1000, &deep));
    TRI_TRY(repeated("0,", TRI_JSON_MAX_VALUES + 1, &many));
    refuse(deep, "deeper than 32");
    refuse(many, "more than 1048576 values");
    TRI_FREE(deep);
    TRI_FREE(many);
    return TRI_OK;
}

TRI_TEST(quoted_text_reads_back)
{
    static const char text[] = "a\"b\\c\nd\te\x01\xc3\xa4";
    char *out = NULL;
    size_t n = 0;
    FILE *stream = open_memstream(&out, &n);
    TRI_CHECK(stream, TRI_ENOMEM, "no stream");
    tri_json_quote(stream, text);
    fclose(stream);
    tri_json *json = NULL;
    tri_status rc = tri_json_parse(out, n, "here", &json);
    free(out);
    TRI_TRY(rc);
    EXPECT(strcmp(tri_json_text(tri_json_root(json)), text) == 0, "another text came back");
    tri_json_destroy(&json);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(values_come_back), TRI_TEST_ROW(integers_beyond_a_double_are_none),
              TRI_TEST_ROW(what_is_no_json_is_refused),
              TRI_TEST_ROW(too_much_is_refused_before_it_is_parsed),
              TRI_TEST_ROW(quoted_text_reads_back))
