package push

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// requests are messages of a client, and whether they are valid.
var requests = map[string]struct {
	body string
	ok   bool
}{
	"an auth frame": {`{"type":"auth","token":"t"}`, true},
	"a subscribe frame": {
		`{"type":"subscribe","topics":["sensors/12","gateways/3"],"batch":false}`, true,
	},
	"a subscribe frame without batch": {`{"type":"subscribe","topics":["sensors/12"]}`, true},
	"an unsubscribe frame with an id": {
		`{"id":"1","type":"unsubscribe","topics":["sensors/12"]}`, true,
	},
	"an id of 64 characters": {
		`{"type":"auth","token":"t","id":"` + strings.Repeat("ß", 64) + `"}`, true,
	},
	"an id of 65 characters": {
		`{"type":"auth","token":"t","id":"` + strings.Repeat("ß", 65) + `"}`, false,
	},
	"an id that is a number": {`{"type":"auth","token":"t","id":1}`, false},
	"nothing":                {``, false},
	"null":                   {`null`, false},
	"an array":               {`[]`, false},
	"half an object":         {`{"type":"auth","token":"t"`, false},
	"two objects":            {`{"type":"auth","token":"t"}{}`, false},
	"no type":                {`{"token":"t"}`, false},
	"an unknown type":        {`{"type":"resume"}`, false},
	"a type in other case":   {`{"type":"Auth","token":"t"}`, false},
	"a name in other case":   {`{"Type":"auth","token":"t"}`, false},
	"an unknown member":      {`{"type":"auth","token":"t","user":1}`, false},
	"a member of another frame": {
		`{"type":"auth","token":"t","topics":["sensors/1"]}`, false,
	},
	"batch in an unsubscribe frame": {
		`{"type":"unsubscribe","topics":["sensors/1"],"batch":true}`, false,
	},
	"the same name twice":        {`{"type":"auth","token":"t","token":"u"}`, false},
	"no token":                   {`{"type":"auth"}`, false},
	"an empty token":             {`{"type":"auth","token":""}`, false},
	"no topics":                  {`{"type":"subscribe"}`, false},
	"an empty list of topics":    {`{"type":"subscribe","topics":[]}`, false},
	"topics that are not a list": {`{"type":"subscribe","topics":"sensors/1"}`, false},
	"topics that are numbers":    {`{"type":"subscribe","topics":[1]}`, false},
	"batch that is not a boolean": {
		`{"type":"subscribe","topics":["sensors/1"],"batch":1}`, false,
	},
	"not UTF-8":             {"{\"type\":\"auth\",\"token\":\"\xff\"}", false},
	"half a surrogate pair": {`{"type":"auth","token":"\ud800"}`, false},
	"very deep":             {strings.Repeat("[", 20_000), false},
	"a topic with a NUL, which is an unknown topic": {
		`{"type":"subscribe","topics":["sensors/\u0000"]}`, true,
	},
}

func TestParseRequest(t *testing.T) {
	for name, tt := range requests {
		t.Run(name, func(t *testing.T) {
			req, _, err := parseRequest([]byte(tt.body))
			if (err == nil) != tt.ok || (req != nil) != tt.ok {
				t.Errorf("parseRequest(%.100s) = %v, %v; want it read: %t", tt.body, req, err,
					tt.ok)
			}
		})
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, r := range requests {
		f.Add([]byte(r.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, h, err := parseRequest(body)
		if utf8.RuneCountInString(h.ID) > maxRequestID && err == nil {
			t.Errorf("an id of %d characters passed", utf8.RuneCountInString(h.ID))
		}
		var topics []string
		switch req := req.(type) {
		case *authRequest:
			if h.Type != "auth" || req.Token == "" {
				t.Errorf("%s: auth without a token", body)
			}
		case *subscribeRequest:
			topics = req.Topics
		case *unsubscribeRequest:
			topics = req.Topics
		}
		if err == nil && !json.Valid(body) {
			t.Errorf("%q is not JSON and passed", body)
		}
		for _, answer := range []any{
			topicsFrame{Type: "subscribed", ID: h.ID, Topics: topics},
			errorFrame{
				Type:   "error",
				ID:     h.ID,
				Code:   codeUnknownTopic,
				Detail: "x",
				Topics: topics,
			},
		} {
			if b := encode(answer); err == nil && !json.Valid(b) {
				t.Errorf("answer %q to %q", b, body)
			}
		}
		for _, name := range topics {
			if topic, err := ParseTopic(name); err == nil && topic.String() != name {
				t.Errorf("topic %q is read as %s", name, topic)
			}
		}
	})
}

func TestFramesAreValidJSON(t *testing.T) {
	for _, v := range []float64{
		0, 1, -1, 21.5, 0.1, 1e-6, 1e-7, 1e20, 1e21, -1e300, math.MaxFloat64,
		math.SmallestNonzeroFloat64, math.MaxInt64,
	} {
		r := reading(math.MaxInt64, 1, v)
		r.Timestamp = time.Date(2026, 1, 2, 3, 4, 5, 999_999_999, time.FixedZone("", 3600))
		r.Quality, r.SensorType = "\"\x00ß", "ß\""
		var got struct {
			Type       string
			Sensor     int64  `json:"sensor_id"`
			Gateway    int64  `json:"gateway_id"`
			SensorType string `json:"sensor_type"`
			Data       struct {
				Value     float64
				Timestamp string
				Quality   string
			}
		}
		frame := appendReading(nil, r)
		if err := json.Unmarshal(frame, &got); err != nil {
			t.Fatalf("%s: %v", frame, err)
		}
		if got.Data.Value != v || got.Sensor != r.SensorID || got.Data.Quality != r.Quality ||
			got.Data.Timestamp != "2026-01-02T02:04:05.999999Z" ||
			got.Gateway != 1 || got.SensorType != r.SensorType {
			t.Errorf("got %+v of %s, want %+v", got, frame, r)
		}
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if frame := string(appendReading(nil, reading(1, 1, v))); !strings.Contains(frame,
			`"value":null,`) {
			t.Errorf("%s of %v, want null", frame, v)
		}
	}
}

func TestParseTopic(t *testing.T) {
	for name, want := range map[string]Topic{
		"sensors/12":                  {Kind: Sensors, ID: 12},
		"gateways/3":                  {Kind: Gateways, ID: 3},
		"sensors/9223372036854775807": {Kind: Sensors, ID: math.MaxInt64},
		"sensors?type=temperature":    {Kind: SensorTypes, Name: "temperature"},
		"sensors?type=Wärme und=mehr": {Kind: SensorTypes, Name: "Wärme und=mehr"},
		"gateways/status":             {Kind: Statuses},
		"alarms":                      {Kind: Alarms},
		"alarms/critical":             {Kind: Alarms, Name: "critical"},
	} {
		if got, err := ParseTopic(name); err != nil || got != want || got.String() != name {
			t.Errorf("ParseTopic(%q) = %v, %v; want %v", name, got, err, want)
		}
	}
	for _, name := range []string{
		"", "/", "sensors", "sensors/", "sensors/0", "sensors/-1", "sensors/+1", "sensors/01",
		"sensors/1 ", "sensors/1/", "sensors//1",
		"Sensors/1", "sensors/0x1", "sensors/1_0", "sensors/١", "sensors/9223372036854775808",
		"sensors/1.0", "sensors/*", "12",
		"alarms/", "alarms/odd", "alarms/1", "sensors?type=", "sensors?type=a&unit=b",
		"sensors?unit=b", "gateways/Status", "sensors/status",
		"sensors?type=\n", "sensors?type=" + strings.Repeat("x", 51),
	} {
		if got, err := ParseTopic(name); err == nil {
			t.Errorf("ParseTopic(%q) = %v, want an error", name, got)
		}
	}
}
