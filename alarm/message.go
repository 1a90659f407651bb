package alarm

import (
	"strings"
	"time"
	"unicode/utf8"
)

// maxMessageLength is the maximum of characters of a message.
const maxMessageLength = 1000

// Render fills in the rule's message template: {name} {sensor} {gateway} {value} {unit} {limit}
// {level} {severity} {time} {label.NAME}. Nothing else in it is special, and filled-in text is not
// read as a template. The result has at most maxMessageLength characters.
func (r *Rule) Render(l Level, v *float64, at time.Time) string {
	t := r.Message
	if t == "" {
		t = "{name}: {level}"
		if v != nil {
			t = "{name}: {level} at {value} {unit}"
		}
	}
	var b strings.Builder
	for t != "" {
		i := strings.IndexByte(t, '{')
		if i < 0 {
			b.WriteString(t)
			break
		}
		b.WriteString(t[:i])
		end := strings.IndexByte(t[i:], '}')
		if end < 0 {
			b.WriteString(t[i:])
			break
		}
		s, _ := r.placeholder(t[i+1:i+end], l, v, at)
		b.WriteString(s)
		t = t[i+end+1:]
	}
	return cut(strings.TrimSpace(strings.Map(func(c rune) rune {
		if c < ' ' && c != '\n' && c != '\t' || c == 0x7f {
			return ' '
		}
		return c
	}, b.String())), maxMessageLength)
}

func (r *Rule) placeholder(name string, l Level, v *float64, at time.Time) (string, bool) {
	switch name {
	case "name":
		return r.Name, true
	case "sensor":
		return r.Sensor, true
	case "gateway":
		return r.Gateway, true
	case "unit":
		return r.Unit, true
	case "level":
		if l == Breach {
			return strings.ReplaceAll(string(r.Kind), "_", " "), true
		}
		return strings.ReplaceAll(string(l), "_", " "), true
	case "severity":
		return string(r.severity(l)), true
	case "time":
		return at.UTC().Format(time.RFC3339), true
	case "value":
		if v == nil {
			return "no value", true
		}
		return FormatNumber(*v), true
	case "limit":
		return r.limitText(l), true
	}
	key, ok := strings.CutPrefix(name, "label.")
	return r.Labels[key], ok && isName(key)
}

// limitText returns the limit as text.
func (r *Rule) limitText(l Level) string {
	switch {
	case r.limit(l) != nil:
		return FormatNumber(r.limit(l).Value)
	case r.Range != nil:
		return FormatNumber(r.Range.Low) + " to " + FormatNumber(r.Range.High)
	case r.Rate != nil:
		return FormatNumber(r.Rate.Limit) + " per " + r.Rate.Per
	case r.Deviation != nil:
		return FormatNumber(r.Deviation.Limit)
	case r.Kind == NoData:
		return formatDuration(time.Duration(r.NoDataAfter))
	}
	return ""
}

// unknownPlaceholder returns the first {…} of a template that Render does not know; ok when there
// is none.
func unknownPlaceholder(t string) (name string, ok bool) {
	for {
		_, rest, found := strings.Cut(t, "{")
		if !found {
			return "", true
		}
		name, after, closed := strings.Cut(rest, "}")
		if _, known := (&Rule{}).placeholder(name, None, nil, time.Time{}); !closed || !known {
			return "{" + name, false
		}
		t = after
	}
}

// cut shortens s to at most n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}
