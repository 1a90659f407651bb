package configs

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// DefaultYAML is the documented default configuration, to be copied and changed.
//
//go:embed default.yaml
var DefaultYAML string

// fileName is the file of settings in the working directory, when no other is named.
const fileName = "oei-ms.yaml"

// flags are the settings that can be set on the command line. None is a secret: other users can see
// a command line.
var flags = []struct{ name, key, usage string }{
	{"host", "server.host", "address to listen on for HTTP and MQTT"},
	{"port", "server.port", "port of the API"},
	{"mqtt-host", "mqtt.host", "external broker to read from; empty: a broker in this process"},
	{"mqtt-port", "mqtt.port", "port of that broker, or of the one in this process"},
	{"data-dir", "data_dir", "directory of all data stored on this machine"},
	{"log-level", "log.level", "debug, info, warn or error"},
}

// AddFlags adds --config and the flags of settings to set.
func AddFlags(set *pflag.FlagSet) {
	set.String("config", "", "file with settings (default ./"+fileName+" if it exists)")
	for _, f := range flags {
		set.String(f.name, "", f.usage)
	}
}

// Options say where Load reads settings. The zero value suits a program without flags.
type Options struct {
	Flags   *pflag.FlagSet // parsed, with the flags of AddFlags; may be nil
	Environ []string       // NAME=value; nil means os.Environ()
	// directory of .env and oei-ms.yaml; "" means the working directory
	Dir string
}

// Load reads every setting from the first source that has it: flags, environment, .env, file,
// defaults. An empty variable counts as unset. The error joins every fault, each with its setting
// and the remedy; the Config then has the valid settings.
func Load(o Options) (*Config, error) {
	l := &loader{
		Config: &Config{origins: map[string]string{}},
		viper:  viper.New(),
		dir:    o.Dir,
		flags:  o.Flags,
	}
	l.settings = l.Config.settings()
	if o.Environ == nil {
		o.Environ = os.Environ()
	}
	l.environment = variables(o.Environ)
	l.readDefaults()
	l.readDotenv()
	l.readFile()
	l.overlay(".env", l.dotenv)
	l.overlay("environment", l.environment)
	l.overlayFlags()
	l.assign()
	l.complete(func(name string) string { return l.environment[name] })
	l.faults = append(l.faults, l.Config.faults(l.bad)...)
	return l.Config, errors.Join(l.faults...)
}

// loader holds the state of one Load.
type loader struct {
	*Config
	viper       *viper.Viper
	settings    []setting
	dir         string
	flags       *pflag.FlagSet
	environment map[string]string
	dotenv      map[string]string
	faults      []error
	bad         map[string]bool // keys whose value could not be used
}

func (l *loader) fault(format string, args ...any) {
	l.faults = append(l.faults, fmt.Errorf(format, args...))
}

func variables(environ []string) map[string]string {
	values := make(map[string]string, len(environ))
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok {
			values[name] = value
		}
	}
	return values
}

func (l *loader) readDefaults() {
	defaults := viper.New()
	defaults.SetConfigType("yaml")
	if err := defaults.ReadConfig(strings.NewReader(DefaultYAML)); err != nil {
		l.fault("default.yaml: %w", err)
	}
	for _, s := range l.settings {
		l.viper.SetDefault(s.key, defaults.Get(s.key))
	}
}

func (l *loader) readDotenv() {
	path := filepath.Join(l.dir, ".env")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		l.dotenv, err = parseDotenv(string(text))
	}
	if err != nil {
		l.fault(".env: %w", err)
	}
}

// readFile reads the file that was named, or fileName if it exists.
func (l *loader) readFile() {
	path, from := l.file()
	if path == "" {
		path = filepath.Join(l.dir, fileName)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return
		}
		from = fileName
	}
	file := viper.New()
	file.SetConfigFile(path)
	file.SetConfigType("yaml")
	if err := file.ReadInConfig(); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("file %s does not exist", path)
		}
		var parse viper.ConfigParseError
		if errors.As(err, &parse) {
			err = parse.Unwrap()
		}
		l.fault("%s: %w", from, err)
		return
	}
	l.checkKeys(filepath.Base(path), file.AllKeys())
	for _, s := range l.settings {
		if value := file.Get(s.key); value != nil {
			l.viper.Set(s.key, value)
			l.origins[s.key] = fmt.Sprintf("%s: %s", filepath.Base(path), s.key)
		}
	}
}

// file returns the file that was named, and what named it.
func (l *loader) file() (path, from string) {
	if l.flags != nil {
		if path, err := l.flags.GetString("config"); err == nil && path != "" {
			return path, "--config"
		}
	}
	const name = "OEI_CONFIG"
	for _, values := range []map[string]string{l.environment, l.dotenv} {
		if values[name] != "" {
			return values[name], name
		}
	}
	return "", ""
}

// checkKeys reports the keys of a file that are not settings.
func (l *loader) checkKeys(file string, keys []string) {
	var settings, sections []string
	for _, s := range l.settings {
		settings = append(settings, s.key)
		// keys below a setting are checked by assign
		keys = slices.DeleteFunc(keys,
			func(key string) bool { return strings.HasPrefix(key, s.key+".") })
		if section, _, ok := strings.Cut(s.key, "."); ok {
			sections = append(sections, section)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		switch {
		case slices.Contains(settings, key):
		case slices.Contains(sections, key):
			l.fault("%s: %s is a section; write its settings on the lines below it, indented", file,
				key)
		default:
			l.fault("%s: %s is not a setting%s", file, key, meant(key, settings))
		}
	}
}

// meant suggests the candidate that is most like word.
func meant(word string, candidates []string) string {
	if near := nearest(word, candidates); near != "" {
		return "; did you mean " + near + "?"
	}
	return "; see docs/configuration.md for all settings"
}

// overlay applies the settings in values, which come from origin.
func (l *loader) overlay(origin string, values map[string]string) {
	var names []string
	for _, s := range l.settings {
		names = append(names, s.names...)
		for _, name := range slices.Backward(s.names) { // the name that is listed first wins
			value, from, ok := l.lookup(s, name, values)
			if !ok {
				continue
			}
			if from == "" {
				from = origin
				if name != s.name() {
					from += " " + name
				}
			}
			l.viper.Set(s.key, value)
			l.origins[s.key] = from
			break
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if l.looksLikeOurs(name) && !slices.Contains(names, name) &&
			!slices.Contains(names, strings.TrimSuffix(name, "_FILE")) {
			l.fault("%s: is not a setting%s", name, meant(name, names))
		}
	}
}

// lookup returns the value that a variable sets, by itself or, for a secret, by a file; from is set
// when the origin is not the variable itself.
func (l *loader) lookup(
	s setting, name string, values map[string]string,
) (value, from string, ok bool) {
	value, path := values[name], values[name+"_FILE"]
	switch {
	case !s.secret || path == "":
	case value != "":
		l.fault("%s and %s_FILE: both are set; use one", name, name)
	default:
		text, err := os.ReadFile(path)
		if err != nil {
			l.fault("%s_FILE: %w", name, err)
			return "", "", false
		}
		if value = strings.TrimRight(string(text), "\r\n"); value == "" {
			l.fault("%s_FILE: %s is empty", name, path)
		}
		from = "file " + path
	}
	if name == minutesName && value != "" {
		if _, err := strconv.ParseFloat(value, 64); err != nil {
			l.fault("%s: %q is not a number of minutes; use one such as 30", name, value)
			return "", "", false
		}
		value += "m"
	}
	return value, from, value != ""
}

// looksLikeOurs reports whether a variable is meant for this program: it begins with OEI_ and the
// name of a section.
func (l *loader) looksLikeOurs(name string) bool {
	return slices.ContainsFunc(l.settings, func(s setting) bool {
		section, _, ok := strings.Cut(s.key, ".")
		return ok && strings.HasPrefix(name, "OEI_"+strings.ToUpper(section)+"_")
	})
}

func (l *loader) overlayFlags() {
	if l.flags == nil {
		return
	}
	for _, f := range flags {
		if given := l.flags.Lookup(f.name); given != nil && given.Changed {
			l.viper.Set(f.key, given.Value.String())
			l.origins[f.key] = "--" + f.name
		}
	}
}

// assign sets every field.
func (l *loader) assign() {
	l.bad = map[string]bool{}
	for _, s := range l.settings {
		raw := l.viper.Get(s.key)
		if raw == nil {
			continue
		}
		if err := s.assign(raw); err != nil {
			l.bad[s.key] = true
			l.faults = append(l.faults, l.located(s, fmt.Errorf("%s: %w", s.name(), err)))
		}
	}
}

// located adds to a fault of s where its value comes from, unless its name says so.
func (c *Config) located(s setting, err error) error {
	if from := c.origins[s.key]; from != "" && from != "environment" {
		return fmt.Errorf("%w (from %s)", err, from)
	}
	return err
}
