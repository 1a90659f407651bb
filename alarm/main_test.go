package alarm

import "flag"

// Thousands of cases for each property, unless -rapid.checks says otherwise.
func init() {
	if err := flag.Set("rapid.checks", "3000"); err != nil {
		panic(err)
	}
}
