package docs

import (
	"os"
	"strings"
	"testing"
)

// TestQuickstart_ShowsExample compares the Go program of the quickstart with docs/example.
func TestQuickstart_ShowsExample(t *testing.T) {
	page, err := os.ReadFile("quickstart.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example/main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, program, found := strings.Cut(string(source), "func main()")
	if !found || !strings.Contains(string(page), "```go\nfunc main()"+program+"```") {
		t.Error("quickstart.md does not show the program of example/main.go")
	}
}
