// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* The YAML subset: what becomes of a document, and that everything else is refused with its line. */
#include "launch/yaml.h"
#include "tests/test.h"

static tri_status parse(const char *text)
{
    TRI_AUTO(tri_yaml) *yaml = NULL;
    TRI_TRY(tri_yaml_parse(text, strlen(text), "t.yaml", &yaml));
    return TRI_OK;
}

TRI_TEST(tree_has_keys_and_lines)
{
    static const char text[] = "# comment\n"
                               "name: a\n"
                               "map:\n"
                               "  x: 'q'\n"
                               "  list: [1, 2.5]\n"
                               "flow: {y: 3}\n";
    TRI_AUTO(tri_yaml) *yaml = NULL;
    TRI_TRY(tri_yaml_parse(text, strlen(text), "t.yaml", &yaml));
    const tri_yaml_node *name = tri_yaml_root(yaml)->first;
    const tri_yaml_node *map = name->next;
    const tri_yaml_node *flow = map->next;
    EXPECT(strcmp(name->key, "name") == 0 && strcmp(name->text, "a") == 0, "%s", name->key);
    EXPECT(name->line == 2 && !name->is_quoted, "line %d", name->line);
    EXPECT(map->kind == TRI_YAML_MAP && map->line == 3, "line %d", map->line);
    EXPECT(map->first->is_quoted && map->first->line == 4, "line %d", map->first->line);
    const tri_yaml_node *list = map->first->next;
    EXPECT(list->kind == TRI_YAML_LIST && list->line == 5, "line %d", list->line);
    EXPECT(strcmp(list->first->next->text, "2.5") == 0 && !list->first->next->next, "%s",
           list->first->text);
    EXPECT(strcmp(flow->first->key, "y") == 0 && flow->first->line == 6 && !flow->next, "%s",
           flow->first->key);
    return TRI_OK;
}

TRI_TEST(empty_document_has_no_root)
{
    TRI_AUTO(tri_yaml) *yaml = NULL;
    TRI_TRY(tri_yaml_parse("# only this\n", 12, "t.yaml", &yaml));
    EXPECT(!tri_yaml_root(yaml), "a root came from nothing");
    return TRI_OK;
}

TRI_TEST(refused)
{
    EXPECT_STATUS(parse("a: &x 1\nb: 2\n"), TRI_EINVAL, "t.yaml:1: anchors");
    EXPECT_STATUS(parse("a: 1\nb: *x\n"), TRI_EINVAL, "t.yaml:2: aliases");
    EXPECT_STATUS(parse("a: !!int 1\n"), TRI_EINVAL, "t.yaml:1: tags");
    EXPECT_STATUS(parse("a: !mine {b: 1}\n"), TRI_EINVAL, "t.yaml:1: tags");
    EXPECT_STATUS(parse("a: &l [1]\n"), TRI_EINVAL, "t.yaml:1: anchors");
    EXPECT_STATUS(parse("a: 1\nb: 2\na: 3\n"), TRI_EINVAL,
                  "t.yaml:3: key 'a' is given twice, first on line 1");
    EXPECT_STATUS(parse("a: 1\n---\nb: 2\n"), TRI_EINVAL, "t.yaml:2: a second document");
    EXPECT_STATUS(parse("%TAG ! tag:x,2000:\n---\na: 1\n"), TRI_EINVAL, "%TAG");
    EXPECT_STATUS(parse("? [1, 2]\n: 3\n"), TRI_EINVAL, "t.yaml:1: a key must be a plain word");
    EXPECT_STATUS(parse("a: [[[[[[[[1]]]]]]]]\n"), TRI_EINVAL, "t.yaml:1: nested more than 8");
    EXPECT_STATUS(parse("a: \"x\\0y\"\n"), TRI_EINVAL, "t.yaml:1: a zero byte");
    EXPECT_STATUS(parse("a: 1\nb: [1,\nc: 2\n"), TRI_EINVAL, "not valid YAML");
    EXPECT_STATUS(parse("a: 1\n b: 2\n"), TRI_EINVAL, "t.yaml:2: not valid YAML");
    EXPECT_STATUS(parse("a: \xff\xfe\n"), TRI_EINVAL, "not YAML text");
    return TRI_OK;
}

TRI_TEST(limits)
{
    char *text = NULL;
    TRI_TRY(TRI_NEW_ARRAY(TRI_YAML_MAX_BYTES + 2, &text));
    memset(text, ' ', TRI_YAML_MAX_BYTES + 1);
    tri_yaml *yaml = NULL;
    EXPECT_STATUS(tri_yaml_parse(text, TRI_YAML_MAX_BYTES + 1, "t.yaml", &yaml), TRI_EINVAL,
                  "at most 262144");
    text[0] = '[';
    for (int i = 0; i < TRI_YAML_MAX_NODES; i++) {
        text[1 + 2 * i] = '1';
        text[2 + 2 * i] = ',';
    }
    text[1 + 2 * TRI_YAML_MAX_NODES] = ']';
    EXPECT_STATUS(tri_yaml_parse(text, 2 + 2 * TRI_YAML_MAX_NODES, "t.yaml", &yaml), TRI_EINVAL,
                  "more than 4096 values");
    TRI_FREE(text);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(tree_has_keys_and_lines), TRI_TEST_ROW(empty_document_has_no_root),
              TRI_TEST_ROW(refused), TRI_TEST_ROW(limits))
