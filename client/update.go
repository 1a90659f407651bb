package oei

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
)

const maxUpdates = 10 // attempts while others change the resource

// update reads a resource of type T, changes it, and sends the members that differ as the update
// type U, again when the resource has changed meanwhile.
func update[T, U any](
	ctx context.Context, c *Client, o callOptions, change func(*T),
	get func() (*http.Request, error), put func(etag string, body io.Reader) (*http.Request, error),
) (T, error) {
	for attempts := 1; ; attempts++ {
		req, err := get()
		resource, header, err := decode[T](ctx, c, o, req, err)
		if err != nil {
			return resource, err
		}
		body, err := changes[T, U](&resource, change)
		if err != nil {
			return resource, fmt.Errorf("oei: %s: %w", o.operation, err)
		}
		if body == nil {
			return resource, nil
		}
		req, err = put(header.Get("ETag"), bytes.NewReader(body))
		written, err := answer[T](ctx, c, o, req, err)
		if !errors.Is(err, ErrChanged) || attempts == maxUpdates {
			return written, err
		}
		if !wait(ctx, delay(min(attempts, 3), nil)) {
			return written, err
		}
	}
}

// changes calls change and returns the members that it has changed as JSON; nil when it changed
// none.
func changes[T, U any](resource *T, change func(*T)) ([]byte, error) {
	before, err := json.Marshal(resource)
	if err != nil {
		return nil, err
	}
	change(resource)
	after, err := json.Marshal(resource)
	if err != nil {
		return nil, err
	}
	changed, err := difference("", before, after, reflect.TypeFor[U]())
	if err != nil || len(changed) == 0 {
		return nil, err
	}
	return json.Marshal(changed)
}

// difference returns the members of after that differ from before, in the shape of the update type
// u. A member that is itself an update, as the rule of an alarm, contains only its own changes.
func difference(path string, before, after []byte, u reflect.Type) (map[string]any, error) {
	var old, now map[string]json.RawMessage
	if err := json.Unmarshal(before, &old); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(after, &now); err != nil {
		return nil, err
	}
	changed := map[string]any{}
	for name := range old {
		if _, ok := now[name]; !ok {
			now[name] = nil // it was removed
		}
	}
	_, kindOld := old["kind"]
	newKind := kindOld && !bytes.Equal(old["kind"], now["kind"])
	for name, value := range now {
		if bytes.Equal(old[name], value) {
			continue
		}
		field, ok := member(u, name)
		switch {
		case !ok:
			return nil, fmt.Errorf("%s%s cannot be changed", path, name)
		case value == nil && isNullable(field):
			changed[name] = nil
		case value == nil && newKind: // the server removes the settings of the old kind
		case value == nil:
			return nil, fmt.Errorf("%s%s cannot be removed", path, name)
		case isUpdate(field):
			inner, err := difference(path+name+".", old[name], value, field)
			if err != nil {
				return nil, err
			}
			changed[name] = inner
		default:
			changed[name] = value
		}
	}
	return changed, nil
}

// member returns the type of the field with that name in JSON.
func member(t reflect.Type, name string) (reflect.Type, bool) {
	for i := range t.NumField() {
		if tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); tag == name {
			return t.Field(i).Type, true
		}
	}
	return nil, false
}

// isUpdate tells whether t is a struct of changes, all of whose members may be absent.
func isUpdate(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && strings.HasSuffix(t.Name(), "Update")
}

// isNullable tells whether t is a Nullable.
func isNullable(t reflect.Type) bool {
	return t.Kind() == reflect.Map && strings.HasPrefix(t.Name(), "Nullable[")
}
