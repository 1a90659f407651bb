package configs

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parseDotenv reads the lines NAME=value of a .env file. "export " before the name is allowed. A #
// begins a comment only at the start of a line or after a space, so that a password can contain
// one. '…' takes everything literally, "…" knows \n \t \r \" \\ \$. Nothing is expanded. Of
// several lines with the same name the last wins. An error names the line and never shows a value.
func parseDotenv(text string) (map[string]string, error) {
	values := map[string]string{}
	text = strings.TrimPrefix(text, "\ufeff")
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if rest, ok := strings.CutPrefix(line, "export"); ok &&
			strings.TrimLeft(rest, " \t") != rest {
			line = strings.TrimSpace(rest)
		}
		name, raw, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if !ok || !variablePattern.MatchString(name) {
			return nil, fmt.Errorf("line %d is not of the form NAME=value", i+1)
		}
		value, err := parseValue(raw)
		if err != nil {
			return nil, fmt.Errorf("line %d, %s: %w", i+1, name, err)
		}
		values[name] = value
	}
	return values, nil
}

func parseValue(raw string) (string, error) {
	trimmed := strings.TrimLeft(raw, " \t")
	if trimmed == "" || trimmed[0] != '"' && trimmed[0] != '\'' {
		return withoutComment(raw), nil
	}
	quote := trimmed[0]
	var value strings.Builder
	for i := 1; i < len(trimmed); i++ {
		switch c := trimmed[i]; {
		case c == quote:
			if withoutComment(trimmed[i+1:]) != "" {
				return "", errors.New("text after the closing quote; quote the whole value")
			}
			return value.String(), nil
		case c == '\\' && quote == '"' && i+1 < len(trimmed):
			i++
			switch e := trimmed[i]; e {
			case 'n':
				value.WriteByte('\n')
			case 't':
				value.WriteByte('\t')
			case 'r':
				value.WriteByte('\r')
			case '"', '\\', '$':
				value.WriteByte(e)
			default:
				value.WriteByte('\\')
				value.WriteByte(e)
			}
		default:
			value.WriteByte(c)
		}
	}
	return "", errors.New("the quote is not closed on its line")
}

// withoutComment cuts s at the first # that is first or follows a space, and trims it.
func withoutComment(s string) string {
	for i := range len(s) {
		if s[i] == '#' && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t') {
			s = s[:i]
			break
		}
	}
	return strings.TrimSpace(s)
}
