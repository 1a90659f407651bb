package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// asyncDocument is what is compared of an AsyncAPI document.
type asyncDocument struct {
	Channels map[string]struct {
		Address  string
		Messages map[string]reference
	}
	Operations map[string]struct {
		Action   string
		Messages []reference
		Reply    struct{ Messages []reference }
	}
	Components struct {
		Messages map[string]struct {
			Payload struct{ Schema any }
		}
		Schemas map[string]any
	}
}

type reference struct {
	Ref string `yaml:"$ref"`
}

// asREST writes the AsyncAPI document of a file to dir as an OpenAPI document that oasdiff
// compares: a message that clients send is the body of a POST, one that they receive the answer to
// a GET, at the address of the channel and the name of the message.
func asREST(dir, file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var doc asyncDocument
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	paths := map[string]map[string]any{}
	add := func(ref reference, method string) error {
		parts := strings.Split(ref.Ref, "/") // #/channels/CHANNEL/messages/MESSAGE
		if len(parts) != 5 {
			return fmt.Errorf("%s: %q is not a message of a channel", file, ref.Ref)
		}
		channel := doc.Channels[parts[2]]
		name := filepath.Base(channel.Messages[parts[4]].Ref)
		message, known := doc.Components.Messages[name]
		if !known {
			return fmt.Errorf("%s: there is no message %q", file, ref.Ref)
		}
		content := map[string]any{
			"application/json": map[string]any{"schema": message.Payload.Schema},
		}
		operation := map[string]any{"responses": map[string]any{
			"200": map[string]any{"description": name},
		}}
		if method == "post" {
			operation["requestBody"] = map[string]any{"required": true, "content": content}
		} else {
			operation["responses"] = map[string]any{
				"200": map[string]any{"description": name, "content": content},
			}
		}
		address := strings.NewReplacer("{", ":", "}", "").Replace(channel.Address)
		path := "/" + strings.TrimPrefix(address, "/") + "/" + name
		if paths[path] == nil {
			paths[path] = map[string]any{}
		}
		paths[path][method] = operation
		return nil
	}
	for _, operation := range doc.Operations {
		method := map[string]string{"receive": "post", "send": "get"}[operation.Action]
		for _, ref := range operation.Messages {
			if err := add(ref, method); err != nil {
				return "", err
			}
		}
		for _, ref := range operation.Reply.Messages {
			if err := add(ref, "get"); err != nil {
				return "", err
			}
		}
	}
	out, err := yaml.Marshal(map[string]any{
		"openapi":    "3.0.3",
		"info":       map[string]any{"title": "Messages", "version": "1"},
		"paths":      paths,
		"components": map[string]any{"schemas": doc.Components.Schemas},
	})
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, "messages-*.yaml")
	if err != nil {
		return "", err
	}
	if _, err := f.Write(out); err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}
