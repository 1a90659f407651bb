package main

import (
	"regexp"
	"strings"
)

// maxColumns bounds the lines of the generated code.
const maxColumns = 100

var (
	tableRule = regexp.MustCompile(`^\|[-:| ]+\|$`)
	listItem  = regexp.MustCompile(`^([-*]|[0-9]+\.) `)
	wordEnd   = regexp.MustCompile(`([a-z0-9])([A-Z])`)
	acronym   = regexp.MustCompile(`([A-Z]+)([A-Z][a-z])`)
	notWord   = regexp.MustCompile(`[^A-Za-z0-9]+`)
)

// snakeCase turns an operationId or the name of a header into a Python name: listSensors becomes
// list_sensors, If-Match becomes if_match.
func snakeCase(name string) string {
	name = acronym.ReplaceAllString(name, "${1}_${2}")
	name = wordEnd.ReplaceAllString(name, "${1}_${2}")
	return identifier(strings.ToLower(notWord.ReplaceAllString(name, "_")))
}

// pascalCase turns the last segment of a problem type into the name of a class.
func pascalCase(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "-") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// identifier appends an underscore to the words that Python reserves.
func identifier(name string) string {
	switch name {
	case "from", "in", "is", "class", "def", "global", "import", "lambda", "not", "or", "and", "if",
		"pass", "return", "with", "as", "for", "while", "None", "True", "False":
		return name + "_"
	}
	return name
}

// docstring renders text as a docstring, indented by some spaces.
func docstring(text string, indent int) string {
	pad := strings.Repeat(" ", indent)
	text = strings.ReplaceAll(strings.TrimSpace(text), `\`, `\\`)
	lines := wrap(text, maxColumns-indent)
	isShort := len(lines) == 1 && len([]rune(lines[0]))+indent+6 <= maxColumns
	if isShort && !strings.HasSuffix(text, `"`) {
		return pad + `"""` + lines[0] + "\"\"\"\n"
	}
	lines = wrapFirst(text, maxColumns-indent, 3)
	var b strings.Builder
	for i, line := range lines {
		switch {
		case i == 0:
			b.WriteString(pad + `"""` + line + "\n")
		case line == "":
			b.WriteString("\n")
		default:
			b.WriteString(pad + line + "\n")
		}
	}
	return b.String() + pad + "\"\"\"\n"
}

// wrap breaks Markdown into lines of at most width columns. Items of lists keep their indentation,
// and the rows of tables become items, since tables are too wide to be read in an editor.
func wrap(text string, width int) []string {
	return wrapFirst(text, width, 0)
}

func wrapFirst(text string, width, used int) []string {
	var lines []string
	var paragraph, hang string
	flush := func() {
		if paragraph == "" {
			return
		}
		first := width
		if len(lines) == 0 {
			first -= used
		}
		lines = append(lines, fill(paragraph, first, width, hang)...)
		paragraph, hang = "", ""
	}
	rows := strings.Split(text, "\n")
	for i, row := range rows {
		item := strings.TrimSpace(row)
		switch {
		case item == "":
			flush()
			lines = append(lines, "")
		case isTableHead(rows[i:]), tableRule.MatchString(item):
			flush()
		case strings.HasPrefix(item, "|"):
			flush()
			paragraph, hang = tableRow(item), "  "
		case strings.HasPrefix(row, "    "): // already laid out by the generator
			flush()
			indent := row[:len(row)-len(strings.TrimLeft(row, " "))]
			for _, line := range fill(item, width-len(indent), width-len(indent), "    ") {
				lines = append(lines, indent+line)
			}
		case listItem.MatchString(item):
			flush()
			paragraph, hang = item, "  "
		case paragraph != "":
			paragraph += " " + item
		default:
			paragraph = item
		}
	}
	flush()
	return lines
}

// isTableHead reports whether rows begin with the head of a table.
func isTableHead(rows []string) bool {
	return len(rows) > 1 && tableRule.MatchString(strings.TrimSpace(rows[1]))
}

// tableRow turns `| a | b | c |` into `- a: b; c`.
func tableRow(row string) string {
	cells := strings.Split(strings.Trim(row, "| "), " | ")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return "- " + cells[0] + ": " + strings.Join(cells[1:], "; ")
}

// fill breaks a paragraph into lines; those after the first begin with hang.
func fill(paragraph string, first, width int, hang string) []string {
	var lines []string
	line, limit := "", first
	for word := range strings.FieldsSeq(paragraph) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) > limit:
			lines = append(lines, line)
			line, limit = hang+word, width
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// oneLine joins the lines of a description.
func oneLine(text string) string {
	return strings.Join(strings.Fields(text), " ")
}

// call renders `head(a, b)tail` on one line if it fits, else with one argument on each line.
func call(indent int, head string, arguments []string, tail string) string {
	pad := strings.Repeat(" ", indent)
	line := pad + head + "(" + strings.Join(arguments, ", ") + ")" + tail
	if len(line) <= maxColumns && !strings.Contains(line, "\n") {
		return line + "\n"
	}
	var b strings.Builder
	b.WriteString(pad + head + "(\n")
	for _, argument := range arguments {
		b.WriteString(pad + "    " + argument + ",\n")
	}
	return b.String() + pad + ")" + tail + "\n"
}
