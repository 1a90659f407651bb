// Command breaking compares openapi.yaml and asyncapi.yaml with the contracts of the last release,
// and fails for a change that breaks clients, unless docs/released/breaking-changes.md accepts it
// with a reason. It also fails for an accepted change that is no longer made. With -release it
// makes the present contracts those of the last release. Run it in the root of the repository, by
// ./task.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// contracts are the files of what clients rely on.
type contracts struct{ rest, async string }

var (
	current  = contracts{"openapi.yaml", "gen/asyncapi/asyncapi.yaml"}
	released = contracts{"docs/released/openapi.yaml", "docs/released/asyncapi.yaml"}
)

const acceptedFile = "docs/released/breaking-changes.md"

func main() {
	release := flag.Bool("release", false, "make the present contract that of the last release")
	flag.Parse()
	var err error
	if *release {
		err = startRelease()
	} else {
		err = check(released, current, acceptedFile)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "breaking:", err)
		os.Exit(1)
	}
}

// check fails when revised breaks clients of released other than by the changes that the file
// accepted lists, and when that file lists others.
func check(released, revised contracts, accepted string) error {
	found, err := released.breakingChanges(revised)
	if err != nil {
		return err
	}
	lines, err := acceptedChanges(accepted)
	if err != nil {
		return err
	}
	for _, line := range lines {
		if !line.matchesAny(found) {
			return fmt.Errorf("%s:%d accepts a change that is not made; remove the line:\n%s",
				accepted, line.number, line.text)
		}
	}
	// oasdiff itself decides what is accepted
	left, err := released.breakingChanges(revised,
		"--err-ignore", accepted, "--warn-ignore", accepted)
	if err != nil || len(left) == 0 {
		return err
	}
	list := ""
	for _, c := range left {
		list += fmt.Sprintf("\n- %s %s. Reason: ", c.place(), c.Text)
	}
	return fmt.Errorf("clients of the last release break in %d places; undo the changes, or add "+
		"these lines with their reasons to %s:\n%s", len(left), accepted, list)
}

// change is a breaking change that oasdiff has found.
type change struct {
	Text      string `json:"text"`
	Operation string `json:"operation"` // its method; empty for a change outside of paths
	Path      string `json:"path"`
	Section   string `json:"section"` // paths, components, security, …
}

// place returns where the change is, which a line that accepts the change must contain.
func (c change) place() string {
	if c.Operation == "" {
		return c.Section
	}
	return c.Operation + " " + c.Path
}

// breakingChanges returns what breaks clients of c in revised.
func (c contracts) breakingChanges(revised contracts, flags ...string) ([]change, error) {
	dir, err := os.MkdirTemp("", "oei-ms-breaking-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	before, err := asREST(dir, c.async)
	if err != nil {
		return nil, err
	}
	after, err := asREST(dir, revised.async)
	if err != nil {
		return nil, err
	}
	ofREST, err := breakingChanges(c.rest, revised.rest, flags...)
	if err != nil {
		return nil, err
	}
	ofMessages, err := breakingChanges(before, after, flags...)
	return append(ofREST, ofMessages...), err
}

func breakingChanges(released, revised string, flags ...string) ([]change, error) {
	out, err := oasdiff("breaking", released, revised, append(flags, "--format", "json")...)
	if err != nil {
		return nil, err
	}
	var changes []change
	if err := json.Unmarshal(out, &changes); err != nil {
		return nil, fmt.Errorf("read the answer of oasdiff: %w: %s", err, out)
	}
	return changes, nil
}

// oasdiff compares two contracts. Schemas in allOf are merged before, so that a reference with a
// description of its own is the same as one without.
func oasdiff(command, released, revised string, flags ...string) ([]byte, error) {
	args := append([]string{
		"tool", "-modfile=tools/oasdiff.mod", "oasdiff", command, released, revised,
		"--flatten-allof", "--allow-external-refs=false",
	}, flags...)
	cmd := exec.CommandContext(context.Background(), "go", args...)
	var faults bytes.Buffer
	cmd.Stderr = &faults
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("oasdiff: %w: %s", err, faults.Bytes())
	}
	return out, nil
}

// acceptedChange is a line of the list of accepted changes.
type acceptedChange struct {
	number int
	text   string
}

// matchesAny compares as oasdiff does.
func (a acceptedChange) matchesAny(changes []change) bool {
	line := strings.ToLower(a.text)
	for _, c := range changes {
		if strings.Contains(line, strings.ToLower(c.Text)) &&
			strings.Contains(line, strings.ToLower(c.place())) {
			return true
		}
	}
	return false
}

// acceptedChanges returns the items of the list in the file. Each ends with its reason.
func acceptedChanges(file string) (lines []acceptedChange, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "- ") {
			continue
		}
		if _, reason, _ := strings.Cut(line, " Reason: "); strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s:%d does not end with `Reason: …`:\n%s", file, i+1, line)
		}
		lines = append(lines, acceptedChange{number: i + 1, text: line})
	}
	return lines, nil
}

// startRelease copies the contracts, and takes the items off the list of accepted changes.
func startRelease() error {
	list, err := os.ReadFile(acceptedFile)
	if err != nil {
		return err
	}
	var kept []string
	for line := range strings.Lines(string(list)) {
		if !strings.HasPrefix(line, "- ") {
			kept = append(kept, line)
		}
	}
	return errors.Join(
		copyFile(current.rest, released.rest),
		copyFile(current.async, released.async),
		os.WriteFile(acceptedFile, []byte(strings.Join(kept, "")), 0o644),
	)
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}
