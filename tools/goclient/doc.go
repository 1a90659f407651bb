package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// doc returns the documentation of a method out of the contract.
func (o *operation) doc(name string) string {
	summary := strings.TrimSuffix(o.Summary, ".")
	runes := []rune(summary)
	if len(runes) > 1 && unicode.IsLower(runes[1]) {
		runes[0] = unicode.ToLower(runes[0])
	}
	verb, rest, _ := strings.Cut(string(runes), " ")
	text := fmt.Sprintf("%s %s %s: %s, %s %s.", name, third(verb), rest, o.OperationID, o.method,
		o.path)
	if o.Description != "" {
		text += "\n\n" + paragraphs(o.Description)
	}
	if o.Deprecated {
		text += "\n\nDeprecated: see the contract."
	}
	return text + "\n\n" + wrap(strings.TrimSpace(o.roles()+" "+o.errors()))
}

// third returns the third person of a verb.
func third(verb string) string {
	for _, ending := range []string{"s", "sh", "ch", "x"} {
		if strings.HasSuffix(verb, ending) {
			return verb + "es"
		}
	}
	return verb + "s"
}

// paragraphs turns Markdown into the syntax of Go's comments: tables become preformatted, and
// emphasis is dropped.
func paragraphs(markdown string) string {
	var lines []string
	inTable := false
	for line := range strings.SplitSeq(strings.TrimSpace(markdown), "\n") {
		isRow := strings.HasPrefix(line, "|")
		if isRow && strings.HasPrefix(line, "|---") {
			continue
		}
		if isRow {
			if !inTable {
				lines = append(lines, "")
			}
			line = "\t" + line
		}
		inTable = isRow
		lines = append(lines, strings.ReplaceAll(line, "**", ""))
	}
	return strings.Join(lines, "\n")
}

// roles says which role the operation needs.
func (o *operation) roles() string {
	if o.Security == nil || len(*o.Security) == 0 {
		return "No login is needed."
	}
	text, takesKeys := "", false
	for _, requirement := range *o.Security {
		for scheme, scopes := range requirement {
			takesKeys = takesKeys || scheme == "api_key"
			if len(scopes) > 0 {
				text = "It needs the role " + scopes[0]
			}
		}
	}
	if !takesKeys {
		text += " and the login of a user, not an API key"
	}
	return text + "."
}

// errors names the problems that the contract documents for the operation.
func (o *operation) errors() string {
	var names []string
	for _, code := range slices.Sorted(maps.Keys(o.Responses.Map())) {
		if name := o.d.statusErrors[code]; name != "" {
			names = append(names, "["+name+"]")
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "Errors: " + strings.Join(names, ", ") + "."
}

// wrap breaks a line after at most 95 characters.
func wrap(text string) string {
	var lines []string
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		if len(line)+len(word) > 94 {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}
