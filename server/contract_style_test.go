package server_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// summaryVerbs are the words that a summary may begin with.
var summaryVerbs = []string{
	"Acknowledge", "Change", "Check", "Comment", "Create", "Delete", "End", "Explain", "Export",
	"Get", "List", "Log", "Open", "Preview", "Redirect", "Refresh", "Reset", "Return", "Revoke",
	"Send", "Shelve", "Simulate", "Take", "Unshelve", "Update", "Write",
}

func TestContract_OperationsAreDescribed(t *testing.T) {
	doc := contract(t)
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			verb, _, _ := strings.Cut(op.Summary, " ")
			if !slices.Contains(summaryVerbs, verb) || strings.HasSuffix(op.Summary, ".") {
				t.Errorf("%s %s: the summary %q does not begin with a verb of the list, or ends "+
					"with a full stop",
					method, path, op.Summary)
			}
			if op.Description == "" {
				t.Errorf("%s %s has no description", method, path)
			}
			for _, p := range slices.Concat(item.Parameters, op.Parameters) {
				if p.Value.Description == "" {
					t.Errorf("%s %s: %s has no description", method, path, p.Value.Name)
				}
			}
		}
	}
}

func TestContract_SchemasAreNamedAndDescribed(t *testing.T) {
	doc := contract(t)
	for name, ref := range doc.Components.Schemas {
		if ref.Value.Description == "" {
			t.Errorf("%s has no description", name)
		}
		for member, property := range ref.Value.Properties {
			if property.Value.Description == "" {
				t.Errorf("%s.%s has no description", name, member)
			}
		}
		expectNamed(t, name, ref.Value)
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			contents := []openapi3.Content{}
			if op.RequestBody != nil {
				contents = append(contents, op.RequestBody.Value.Content)
			}
			for _, res := range op.Responses.Map() {
				contents = append(contents, res.Value.Content)
			}
			for _, content := range contents {
				for kind, media := range content {
					if strings.HasSuffix(kind, "json") {
						expectNamedRef(t, method+" "+path, media.Schema)
					}
				}
			}
		}
	}
}

// expectNamed fails for an object in s that is not a schema of its own: the generators would have
// to make up a name for its type.
func expectNamed(t *testing.T, at string, s *openapi3.Schema) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		expectNamedRef(t, at+"."+name, s.Properties[name])
	}
	expectNamedRef(t, at+"[]", s.Items)
	expectNamedRef(t, at+"{}", s.AdditionalProperties.Schema)
}

func expectNamedRef(t *testing.T, at string, ref *openapi3.SchemaRef) {
	t.Helper()
	if ref == nil || ref.Ref != "" || len(ref.Value.AllOf) == 1 {
		return
	}
	if ref.Value.Type.Is(openapi3.TypeObject) {
		t.Errorf("%s is an object without a name; move it to components/schemas", at)
	}
	expectNamed(t, at, ref.Value)
}

func TestContract_PathsAreInOrderOfTags(t *testing.T) {
	text, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, tag := range contract(t).Tags {
		order = append(order, tag.Name)
	}
	last := 0
	for _, m := range regexp.MustCompile(`(?m)^      tags: \[(\w+)\]$`).FindAllSubmatch(text, -1) {
		at := slices.Index(order, string(m[1]))
		if at < last {
			t.Errorf("an operation of %s follows one of %s", m[1], order[last])
		}
		last = max(last, at)
	}
}
