package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/getkin/kin-openapi/openapi3"
	"go.yaml.in/yaml/v3"
)

// contract is the parsed contract, with the order of its parts as written: the maps of kin-openapi
// have none.
type contract struct {
	doc  *openapi3.T
	root *yaml.Node
}

func loadContract(file string) (*contract, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &contract{doc: doc, root: document.Content[0]}, nil
}

// keys returns the keys of the mapping at a path of keys, in their order.
func (c *contract) keys(path ...string) []string {
	node := c.root
	for _, key := range path {
		if node = child(node, key); node == nil {
			return nil
		}
	}
	return keysOf(node)
}

func keysOf(node *yaml.Node) []string {
	var keys []string
	for i := 0; i+1 < len(node.Content); i += 2 {
		keys = append(keys, node.Content[i].Value)
	}
	return keys
}

func child(node *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

// properties returns the names of a named schema's properties, in their order.
func (c *contract) properties(schema string) []string {
	return c.keys("components", "schemas", schema, "properties")
}

// operation is an operation of the contract with its address.
type operation struct {
	*openapi3.Operation
	method, path string
	parameters   openapi3.Parameters
}

var methods = map[string]string{
	"get":    "GET",
	"put":    "PUT",
	"post":   "POST",
	"delete": "DELETE",
	"patch":  "PATCH",
}

// operations returns all operations in the order of the contract, each with the parameters of its
// path before its own.
func (c *contract) operations() []operation {
	var found []operation
	for _, path := range c.keys("paths") {
		item := c.doc.Paths.Value(path)
		for _, key := range c.keys("paths", path) {
			method, ok := methods[key]
			if !ok {
				continue
			}
			op := item.GetOperation(method)
			parameters := slices.Concat(item.Parameters, op.Parameters)
			found = append(found, operation{op, method, path, parameters})
		}
	}
	return found
}
