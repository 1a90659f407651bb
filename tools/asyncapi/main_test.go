package main

import (
	"bytes"
	"testing"

	"github.com/oei-ms/oei-ms/gen/asyncapi"
)

// TestBundle_IsCurrent bundles the documents and compares the result with the generated file.
func TestBundle_IsCurrent(t *testing.T) {
	t.Chdir("../..")
	got, err := bundled()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, asyncapi.YAML) {
		t.Errorf("%s differs from what %s and %s generate; run ./task gen", target, source, shared)
	}
}
