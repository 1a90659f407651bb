package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// breaks are changes of the contract that break clients, with words of what must be said of them.
var breaks = map[string]struct{ from, to, want string }{
	"a removed operation": {
		"  /version:\n    get:", "  /version:\n    x-get:", "- GET /version api removed",
	},
	"a removed response member": {
		"        timestamp: {type: string, format: date-time, description: When this was " +
			"computed.}\n", "", "- GET /health removed the required property `timestamp`",
	},
	"a removed response": {
		"        '204': {description: The session has ended.}\n", "",
		"- POST /api/auth/logout removed the success response with the status `204`",
	},
	"a new required request member": {
		"      required: [name]\n      properties:", "      required: [name, site]\n" +
			"      properties:\n        site: {type: string, description: Site.}",
		"- POST /api/gateways added the new required request property `site`",
	},
	"a new required parameter": {
		"          description: Only the gateway with this key.\n",
		"          description: Only the gateway with this key.\n          required: true\n",
		"- GET /api/gateways the `query` request parameter `key` became required",
	},
	"a narrowed enum": {
		"enum: [viewer, operator, engineer, admin]", "enum: [viewer, operator, admin]",
		"- POST /api/users removed the enum value `engineer`",
	},
	"a narrowed limit": {
		"maximum: 1000, default: 100", "maximum: 500, default: 100",
		"- GET /api/sensors for the `query` request parameter `limit`, the max was decreased",
	},
	"a changed type": {
		"uptime_seconds: {type: integer, format: int64", "uptime_seconds: {type: string",
		"- GET /health the `uptime_seconds` response's property `type/format` changed",
	},
	"another role": {
		"server's own gateway is included only with `is_system=true`.\n" +
			"      security: [{oauth2: [viewer]}",
		"server's own gateway is included only with `is_system=true`.\n" +
			"      security: [{oauth2: [admin]}",
		"- GET /api/gateways the security scope `admin` was added",
	},
}

// asyncBreaks are such changes of asyncapi.yaml.
var asyncBreaks = map[string]struct{ from, to, want string }{
	"a renamed topic": {
		"address: sensors/{gateway}/{sensor}/data", "address: sensor/{gateway}/{sensor}/data",
		"- POST /sensors/:gateway/:sensor/data/SensorData api",
	},
	"a message that is not sent any more": {
		"      - $ref: '#/channels/live/messages/WsLagged'\n", "",
		"- GET /ws/WsLagged api",
	},
}

// TestCheck_FindsPlantedBreaks plants breaks in a copy of the contracts. Each must be found, be
// accepted by the line that the check prints, once that has a reason, and fail again when the
// change is undone and the line stays.
func TestCheck_FindsPlantedBreaks(t *testing.T) {
	t.Chdir("../..")
	plant := func(text string, breaks map[string]struct{ from, to, want string }) string {
		for name, b := range breaks {
			if !strings.Contains(text, b.from) {
				t.Fatalf("%s: the contract has no %q", name, b.from)
			}
			text = strings.Replace(text, b.from, b.to, 1)
		}
		return text
	}
	revised := contracts{
		rest:  write(t, plant(read(t, current.rest), breaks)),
		async: write(t, plant(read(t, current.async), asyncBreaks)),
	}
	err := check(current, revised, write(t, "# Accepted\n\nNothing.\n"))
	if err == nil {
		t.Fatal("nothing was found")
	}
	for _, breaks := range []map[string]struct{ from, to, want string }{breaks, asyncBreaks} {
		for name, b := range breaks {
			if !strings.Contains(err.Error(), b.want) {
				t.Errorf("%s: got %v, want %q", name, err, b.want)
			}
		}
	}
	_, lines, _ := strings.Cut(err.Error(), ":\n\n")
	if err := check(current, revised, write(t, lines)); err == nil ||
		!strings.Contains(err.Error(), "does not end with `Reason: …`") {
		t.Errorf("without reasons: got %v", err)
	}
	reasoned := strings.ReplaceAll(lines, "Reason: ", "Reason: a test.")
	if err := check(current, revised, write(t, reasoned)); err != nil {
		t.Errorf("accepted: got %v", err)
	}
	first, rest, _ := strings.Cut(reasoned, "\n")
	if err := check(current, revised, write(t, rest)); err == nil ||
		!strings.Contains(err.Error(), "in 1 places") {
		t.Errorf("all but one accepted: got %v", err)
	}
	if err := check(current, current, write(t, first)); err == nil ||
		!strings.Contains(err.Error(), "accepts a change that is not made") {
		t.Errorf("accepted and not made: got %v", err)
	}
}

func TestCheck_PassesWhatBreaksNothing(t *testing.T) {
	t.Chdir("../..")
	text := read(t, current.rest)
	revised := contracts{async: current.async}
	revised.rest = write(t, strings.NewReplacer(
		"maximum: 1000, default: 100", "maximum: 2000, default: 100",
		"    GatewayCreate:\n      type: object\n", "    GatewayCreate:\n      type: object\n"+
			"      x-new: true\n",
		"        uptime_seconds: ", "        load: {type: number, description: Load.}\n"+
			"        uptime_seconds: ",
	).Replace(text))
	if err := check(current, revised, write(t, "")); err != nil {
		t.Error(err)
	}
}

// TestRelease makes a copy of the contract and empties the list.
func TestRelease(t *testing.T) {
	t.Chdir(t.TempDir())
	for file, text := range map[string]string{
		current.rest: "new", current.async: "new messages", released.rest: "old",
		acceptedFile: "# A\n\n- GET /x. Reason: y\n",
	} {
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := startRelease(); err != nil {
		t.Fatal(err)
	}
	got := read(t, released.rest) + "|" + read(t, released.async) + "|" + read(t, acceptedFile)
	if got != "new|new messages|# A\n\n" {
		t.Errorf("got %q", got)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
