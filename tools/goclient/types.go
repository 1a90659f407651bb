package main

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// internal are types of gen/client that users of the SDK never see: those of its own client, of
// headers, of the bodies by operation, and the messages of sockets.
var internal = regexp.MustCompile(
	`Response$|Response(\d{3}|Default)Headers$|RequestBody$|^Client|^HttpRequestDoer$|` +
		`^RequestEditorFn$|^Ws|^Problem(Type)?$`)

// digitPrefix is the letter that gen/client puts before a value that begins with a digit.
var digitPrefix = regexp.MustCompile(`([a-z])N(\d)`)

// writeTypes writes aliases of the types and constants of gen/client, and the contract's version.
func writeTypes(out *bytes.Buffer, contract *openapi3.T, d *declarations) error {
	fmt.Fprintf(out, "import %q\n\n", "github.com/oei-ms/oei-ms/gen/client")
	fmt.Fprintf(out, "const contractVersion = %q\n\n", contract.Info.Version)
	hidden := hiddenTypes(contract)
	out.WriteString("type (\n")
	for _, t := range d.types {
		if hidden[t.name] || internal.MatchString(t.name) {
			continue
		}
		name := d.public(t.name)
		writeDoc(out, "\t", typeDoc(t, name))
		fmt.Fprintf(out, "\t%s = client.%s\n", name, t.name)
	}
	out.WriteString(")\n\n")
	groups := map[string][]declaration{}
	for _, c := range d.consts {
		if !hidden[c.typ] && !internal.MatchString(c.typ) {
			groups[c.typ] = append(groups[c.typ], c)
		}
	}
	for _, t := range d.types {
		if len(groups[t.name]) == 0 {
			continue
		}
		fmt.Fprintf(out, "// Values of %s.\nconst (\n", d.public(t.name))
		for _, c := range groups[t.name] {
			name := digitPrefix.ReplaceAllString(c.name, "$1$2")
			if d.own[name] {
				name += "Value"
			}
			fmt.Fprintf(out, "\t%s = client.%s\n", name, c.name)
		}
		out.WriteString(")\n\n")
	}
	return nil
}

// hiddenTypes returns the types of gen/client that stand for responses and parameters.
func hiddenTypes(contract *openapi3.T) map[string]bool {
	hidden := map[string]bool{"IDParameter": true}
	for name := range contract.Components.Responses {
		hidden[name] = true
	}
	for name := range contract.Components.Parameters {
		hidden[name] = true
	}
	for name := range contract.Components.Schemas {
		delete(hidden, name)
	}
	return hidden
}

// typeDoc returns the description of a type; its members are documented in gen/client.
func typeDoc(t declaration, name string) string {
	doc := strings.TrimSpace(t.doc)
	if strings.HasSuffix(t.name, "Params") {
		return fmt.Sprintf("%s are the parameters of [Client.%s].", name,
			strings.TrimSuffix(name, "Params"))
	}
	paragraphs := strings.Split(doc, "\n\n")
	if i := slices.IndexFunc(paragraphs, func(p string) bool {
		return strings.HasPrefix(strings.TrimSpace(p), "Example:")
	}); i > 0 {
		paragraphs = paragraphs[:i]
	}
	first := strings.TrimSpace(paragraphs[0])
	first = strings.TrimPrefix(first, t.name)
	return strings.TrimSpace(name + " " + strings.TrimSpace(first))
}

// writeDoc writes text as a comment.
func writeDoc(out *bytes.Buffer, indent, text string) {
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		fmt.Fprintln(out, strings.TrimRight(indent+"// "+line, " "))
	}
}
