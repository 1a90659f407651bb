package configs

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A setting is one key of the configuration and the field it sets.
type setting struct {
	key    string   // server.port
	names  []string // its environment variables: PORT, OEI_SERVER_PORT; the first names it in texts
	secret bool     // shown masked; may also come from the file that NAME_FILE names
	field  reflect.Value
}

func (s setting) name() string { return s.names[0] }

// shortNames are the variables that settings had in the predecessor of this system, and others as
// common.
var shortNames = map[string]string{
	"environment":           "ENVIRONMENT",
	"debug":                 "DEBUG",
	"data_dir":              "DATA_DIR",
	"allow_plaintext":       "ALLOW_PLAINTEXT",
	"log.level":             "LOG_LEVEL",
	"database.url":          "DATABASE_URL",
	"server.host":           "HOST",
	"server.port":           "PORT",
	"server.secret_key":     "SECRET_KEY",
	"server.access_ttl":     minutesName,
	"server.admin_username": "ADMIN_USERNAME",
	"server.admin_password": "ADMIN_PASSWORD",
	"server.redis_url":      "REDIS_URL",
	"mqtt.host":             "MQTT_HOST",
	"mqtt.port":             "MQTT_PORT",
	"mqtt.username":         "MQTT_USERNAME",
	"mqtt.password":         "MQTT_PASSWORD",
}

// minutesName is the only variable whose value is a number of minutes without a unit.
const minutesName = "ACCESS_TOKEN_EXPIRE_MINUTES"

var secrets = []string{
	"database.url", "server.secret_key", "server.admin_password", "server.redis_url",
	"mqtt.password", "notify.smtp_password",
}

// settings lists every setting of c, in the order of its fields.
func (c *Config) settings() []setting {
	var list []setting
	var walk func(reflect.Value, string)
	walk = func(v reflect.Value, prefix string) {
		for i := range v.NumField() {
			tag := v.Type().Field(i).Tag.Get("mapstructure")
			switch key := prefix + tag; {
			case tag == "" || tag == "-":
			case v.Field(i).Kind() == reflect.Struct:
				walk(v.Field(i), key+".")
			default:
				s := setting{key: key, field: v.Field(i), secret: slices.Contains(secrets, key)}
				if name := shortNames[key]; name != "" {
					s.names = append(s.names, name)
				}
				s.names = append(s.names, "OEI_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_")))
				list = append(list, s)
			}
		}
	}
	walk(reflect.ValueOf(c).Elem(), "")
	return list
}

// assign sets the field from raw, which is a string or a decoded YAML value. An error says what is
// valid, and shows the value unless it is a secret.
func (s setting) assign(raw any) error {
	switch s.field.Interface().(type) {
	case []string:
		return s.assignList(raw)
	case map[string]string:
		return s.assignMap(raw)
	}
	switch raw.(type) {
	case []any, map[string]any:
		return errors.New("takes a single value")
	}
	text := strings.TrimSpace(fmt.Sprint(raw))
	wrong := func(right string) error {
		if s.secret {
			return errors.New(right)
		}
		return fmt.Errorf("%q is not %s", text, right)
	}
	switch s.field.Interface().(type) {
	case string:
		if s.secret {
			text = fmt.Sprint(raw) // a password may begin or end with a space
		}
		s.field.SetString(text)
	case bool:
		value, ok := booleans[strings.ToLower(text)]
		if !ok {
			return wrong("a boolean; use true or false")
		}
		s.field.SetBool(value)
	case time.Duration:
		value, err := time.ParseDuration(text)
		if err != nil {
			return wrong("a duration; use a number with its unit, such as 500ms, 30s, 5m or 24h")
		}
		s.field.SetInt(int64(value))
	case int, int64:
		value, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 64)
		if err != nil {
			return wrong("a whole number; use one such as 1000")
		}
		s.field.SetInt(value)
	default:
		return fmt.Errorf("has type %s, which cannot be set", s.field.Type())
	}
	return nil
}

var booleans = map[string]bool{
	"true": true, "yes": true, "on": true, "1": true, "false": false, "no": false, "off": false,
	"0": false,
}

func (s setting) assignList(raw any) error {
	var list []string
	switch raw := raw.(type) {
	case []any:
		for _, item := range raw {
			list = append(list, fmt.Sprint(item))
		}
	case map[string]any:
		return errors.New("takes a list")
	default:
		list = strings.Split(fmt.Sprint(raw), ",")
	}
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	s.field.Set(reflect.ValueOf(slices.DeleteFunc(list,
		func(item string) bool { return item == "" })))
	return nil
}

func (s setting) assignMap(raw any) error {
	values := map[string]string{}
	switch raw := raw.(type) {
	case map[string]any:
		for name, value := range raw {
			switch value.(type) {
			case nil, []any, map[string]any:
				return fmt.Errorf("%s: takes a single value", name)
			}
			values[name] = fmt.Sprint(value)
		}
	case string:
		for pair := range strings.SplitSeq(raw, ",") {
			name, value, ok := strings.Cut(pair, "=")
			if !ok {
				return fmt.Errorf("%q is not of the form name=value; separate several by commas",
					strings.TrimSpace(pair))
			}
			values[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	default:
		return errors.New("takes names with values")
	}
	s.field.Set(reflect.ValueOf(values))
	return nil
}

// nearest returns the candidate that is most like word, or "" when none is.
func nearest(word string, candidates []string) string {
	best, minDistance := "", max(2, len(word)/4)+1
	for _, candidate := range candidates {
		if d := distance(word, candidate); d < minDistance {
			best, minDistance = candidate, d
		}
	}
	return best
}

// distance returns the number of letters to insert, delete or replace to turn a into b
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
