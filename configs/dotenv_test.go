package configs

import (
	"maps"
	"strings"
	"testing"
)

func TestParseDotenv(t *testing.T) {
	tests := map[string]struct {
		text string
		want map[string]string
	}{
		"nothing": {"", map[string]string{}},
		"a plain value": {
			"PORT=9000", map[string]string{"PORT": "9000"},
		},
		"several lines, comments and blank ones": {
			"# first\n\nA=1\n  # second\nB=2\n", map[string]string{"A": "1", "B": "2"},
		},
		"lines that end as on Windows, with a mark": {
			"\ufeffA=1\r\nB=2\r\n", map[string]string{"A": "1", "B": "2"},
		},
		"a # in a password stays":            {"P=p#w=1", map[string]string{"P": "p#w=1"}},
		"a # after a space begins a comment": {"P=p #w", map[string]string{"P": "p"}},
		"only a comment is no value":         {"P= # none", map[string]string{"P": ""}},
		"an empty value":                     {"P=", map[string]string{"P": ""}},
		"export before the name": {
			"export A=1\nexport\tB=2", map[string]string{"A": "1", "B": "2"},
		},
		"a name that begins with export": {
			"exported=1", map[string]string{"exported": "1"},
		},
		"spaces around the name and value": {" A = 1 2 ", map[string]string{"A": "1 2"}},
		"single quotes take everything as it is": {
			`A=' x # \n "y" '`, map[string]string{"A": ` x # \n "y" `},
		},
		"double quotes know escapes": {
			`A="a\n\t\"\\\$b\x" # c`, map[string]string{"A": "a\n\t\"\\$b\\x"},
		},
		"nothing is expanded":            {"A=$HOME", map[string]string{"A": "$HOME"}},
		"quotes in the middle stay":      {`A=it's`, map[string]string{"A": "it's"}},
		"the last of the same name wins": {"A=1\nA=2", map[string]string{"A": "2"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseDotenv(test.text)
			if err != nil || !maps.Equal(got, test.want) {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestParseDotenv_NamesBadLinesWithoutTheirValue(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"no equals sign":            {"A=1\nhunter2", "line 2 is not of the form NAME=value"},
		"a name with a dash":        {"a-b=hunter2", "line 1 is not"},
		"a quote that is not ended": {"A='hunter2", "line 1, A: the quote is not closed"},
		"text after the quotes":     {`A="x" hunter2`, "line 1, A: text after the closing quote"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parseDotenv(test.text)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) ||
				strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q and no value", err, test.want)
			}
		})
	}
}
