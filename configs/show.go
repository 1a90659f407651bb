package configs

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// Write prints every setting in effect, by the name of its variable, and where it comes from.
// Secrets are masked.
func (c *Config) Write(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "SETTING\tVALUE\tFROM")
	for _, s := range c.settings() {
		from := c.origins[s.key]
		if from == "" {
			from = "default"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.name(), s.shown(), from)
		if s.key == "database.url" && !c.PrivateDatabase() {
			fmt.Fprintf(table, "  sslmode\t%s\n", c.databaseTLS())
		}
	}
	return table.Flush()
}

// databaseTLS returns the sslmode in effect, and where it comes from.
func (c *Config) databaseTLS() string {
	tls, err := store.DatabaseTLS(c.Database.URL)
	switch {
	case err != nil: // Validate reports it
		return "\t"
	case tls.Socket:
		return "disable\tUnix socket"
	case tls.Given:
		return string(tls.Mode) + "\tDATABASE_URL or PGSSLMODE"
	case tls.Remote != "":
		return string(tls.Mode) + "\tdefault for another machine"
	}
	return string(tls.Mode) + "\tdefault for this machine: TLS if the server offers it"
}

// String returns the settings that are not defaults in one line. Secrets are masked.
func (c Config) String() string {
	var changed []string
	for _, s := range c.settings() {
		if c.origins[s.key] != "" {
			changed = append(changed, s.name()+"="+s.shown())
		}
	}
	return strings.Join(changed, " ")
}

// GoString is String, for %#v.
func (c Config) GoString() string { return c.String() }

// LogValue is String, for slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON encodes every setting by the name of its variable. Secrets are masked.
func (c Config) MarshalJSON() ([]byte, error) {
	all := map[string]string{}
	for _, s := range c.settings() {
		all[s.name()] = s.shown()
	}
	return json.Marshal(all)
}

const mask = "********"

// shown returns the value as text, a secret masked.
func (s setting) shown() string {
	switch value := s.field.Interface().(type) {
	case []string:
		return strings.Join(value, ",")
	case map[string]string:
		var pairs []string
		for _, name := range slices.Sorted(maps.Keys(value)) {
			pairs = append(pairs, name+"="+value[name])
		}
		return strings.Join(pairs, ",")
	case time.Duration:
		return s.shownTime(value)
	case string:
		switch {
		case !s.secret || value == "":
			return value
		case strings.HasSuffix(s.key, "url"):
			return maskedAddress(value)
		}
		return mask
	}
	return fmt.Sprint(s.field.Interface())
}

// shownTime returns a duration as a user would set it.
func (s setting) shownTime(d time.Duration) string {
	if s.name() == minutesName {
		return strconv.FormatFloat(d.Minutes(), 'f', -1, 64)
	}
	text := d.String() // 24h0m0s
	if whole, ok := strings.CutSuffix(text, "m0s"); ok {
		text = whole + "m"
	}
	if whole, ok := strings.CutSuffix(text, "h0m"); ok {
		text = whole + "h"
	}
	return text
}

var dsnPassword = regexp.MustCompile(`(?i)\b(\w*password|passfile)\s*=\s*('(?:[^'\\]|\\.)*'|\S*)`)

// maskedAddress masks the password of an address, or all of it when the place of the password is
// not certain.
func maskedAddress(address string) string {
	if u, err := url.Parse(address); err == nil && u.Scheme != "" && u.Host != "" {
		if _, set := u.User.Password(); set {
			u.User = url.UserPassword(u.User.Username(), mask)
		}
		query := u.Query()
		for name := range query {
			if strings.Contains(strings.ToLower(name), "pass") {
				query.Set(name, mask)
			}
		}
		u.RawQuery = query.Encode()
		return strings.ReplaceAll(u.String(), url.QueryEscape(mask), mask)
	}
	if strings.Contains(address, "host=") && !strings.Contains(address, "://") {
		return dsnPassword.ReplaceAllString(address, "$1="+mask)
	}
	return mask
}
