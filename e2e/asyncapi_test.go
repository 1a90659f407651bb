package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/internal/asyncapitest"
)

// documented is a running server with the gateways and sensors of the examples of asyncapi.yaml,
// and what these call them.
type documented struct {
	*process
	document *asyncapitest.Document
	auth     string             // of an admin
	press    device             // press-1
	ids      map[string]float64 // ids by what the examples have, such as sensor_id 12
	used     map[string]bool    // messages and examples that were received, as message/example
}

// serveDocumented starts the server and registers press-1 with the sensors t1, p1 and spare, which
// is not in use, and press-2 with t1.
func serveDocumented(t *testing.T, settings ...string) *documented {
	t.Helper()
	d := &documented{
		process:  serve(t, dataDir(t), settings...),
		document: asyncapitest.Read(t),
		ids:      map[string]float64{},
		used:     map[string]bool{},
	}
	d.auth = "Bearer " + d.token()
	gateway := d.post("/api/gateways", `{"key":"press-1","name":"Press 1"}`)["id"].(float64)
	sensor := func(gateway float64, key, name, kind, unit string) float64 {
		return d.post("/api/sensors",
			fmt.Sprintf(`{"gateway_id":%v,"key":%q,"name":%q,"type":%q,"unit":%q}`, gateway, key,
				name, kind, unit))["id"].(float64)
	}
	d.ids["gateway_id 3"] = gateway
	d.ids["sensor_id 12"] = sensor(gateway, "t1", "Bearing temperature", "temperature", "°C")
	d.ids["sensor_id 13"] = sensor(gateway, "p1", "Oil pressure", "pressure", "bar")
	spare := sensor(gateway, "spare", "Spare", "temperature", "°C")
	d.send(http.MethodPut, fmt.Sprintf("/api/sensors/%v", spare), `{"is_active":false}`)
	other := d.post("/api/gateways", `{"key":"press-2","name":"Press 2"}`)["id"].(float64)
	sensor(other, "t1", "Bearing temperature", "temperature", "°C")
	d.press = d.credential("press-1", gateway)
	return d
}

// credential returns a gateway with a new secret.
func (d *documented) credential(key string, gateway float64) device {
	made := d.post(fmt.Sprintf("/api/gateways/%v/credentials", gateway), "")
	return device{key: key, secret: made["secret"].(string), gatewayID: int64(gateway)}
}

func (d *documented) post(path, body string) map[string]any {
	d.t.Helper()
	return d.send(http.MethodPost, path, body)
}

// send calls the API as admin, and wants success.
func (d *documented) send(method, path, body string) (answer map[string]any) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, "http://"+d.api+path,
		strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", d.auth)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	err = json.NewDecoder(res.Body).Decode(&answer)
	if res.StatusCode >= 300 || err != nil {
		d.t.Fatalf("%s %s: got %d, %v, %v", method, path, res.StatusCode, err, answer)
	}
	return answer
}

// example returns an example by its name.
func (d *documented) example(message, name string) asyncapitest.Example {
	d.t.Helper()
	examples := d.document.Components.Messages[message].Examples
	i := slices.IndexFunc(examples, func(e asyncapitest.Example) bool { return e.Name == name })
	if i < 0 {
		d.t.Fatalf("message %s has no example %s", message, name)
	}
	return examples[i]
}

// match validates what was received as a message, and returns how it differs from an example.
// Members that vary are compared by the schema alone.
func (d *documented) match(message, example string, received []byte, vary ...string) string {
	d.t.Helper()
	var got, want any
	if err := json.Unmarshal(received, &got); err != nil {
		return err.Error()
	}
	if err := d.document.Validate(d.t, message, got); err != nil {
		d.t.Errorf("%s does not match the schema of %s: %v", received, message, err)
	}
	text, err := json.Marshal(d.example(message, example).Payload)
	if err == nil {
		err = json.Unmarshal(text, &want)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	difference := compare("", got, d.actual(want), vary)
	if difference == "" {
		d.used[message+"/"+example] = true
	}
	return difference
}

// actual replaces the ids of examples by those of the server.
func (d *documented) actual(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			out[name] = d.actual(member)
			if id, ok := d.ids[fmt.Sprint(name, " ", member)]; ok {
				out[name] = id
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = d.actual(v[i])
		}
		return out
	case string:
		for from, id := range d.ids {
			kind, number, _ := strings.Cut(from, "_id ")
			if v == kind+"s/"+number {
				return fmt.Sprintf("%ss/%v", kind, id)
			}
		}
	}
	return v
}

// compare returns the first difference between two values of JSON.
func compare(path string, got, want any, vary []string) string {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			break
		}
		if g, w := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(g,
			w) {
			return fmt.Sprintf("%s: got the members %v, want %v", path, g, w)
		}
		for name := range want {
			if slices.Contains(vary, name) {
				continue
			}
			if d := compare(path+"."+name, got[name], want[name], vary); d != "" {
				return d
			}
		}
		return ""
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) != len(want) {
			break
		}
		for i := range want {
			if d := compare(fmt.Sprintf("%s[%d]", path, i), got[i], want[i], vary); d != "" {
				return d
			}
		}
		return ""
	default:
		if got == want {
			return ""
		}
	}
	return fmt.Sprintf("%s: got %v, want %v", path, got, want)
}

// wantAllUsed wants every example of messages to have been received.
func (d *documented) wantAllUsed(messages map[string]bool) {
	d.t.Helper()
	for message := range messages {
		examples := d.document.Components.Messages[message].Examples
		if len(examples) == 0 {
			d.t.Errorf("message %s has no example", message)
		}
		for _, e := range examples {
			if !d.used[message+"/"+e.Name] {
				d.t.Errorf("the example %s of %s was never received", e.Name, message)
			}
		}
	}
}
