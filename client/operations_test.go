package oei_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	oei "github.com/oei-ms/oei-ms/client"
)

// recorder notes which operations of the contract are called, and with what status they answer.
type recorder struct {
	mu       sync.Mutex
	contract contract
	driven   map[string]bool
	faults   []string
}

type contract struct {
	Paths map[string]map[string]json.RawMessage `json:"paths"`
}

type contractOperation struct {
	ID        string                     `json:"operationId"`
	Responses map[string]json.RawMessage `json:"responses"`
}

var pathParameter = regexp.MustCompile(`\\\{[a-z_]+\\\}`)

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	c, err := oei.Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	document, err := c.OpenAPI(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{driven: map[string]bool{}}
	if err := json.Unmarshal(text, &r.contract); err != nil {
		t.Fatal(err)
	}
	return r
}

// operations calls f with each operation of the contract.
func (r *recorder) operations(f func(method, path string, o contractOperation)) {
	for path, item := range r.contract.Paths {
		for method, raw := range item {
			var o contractOperation
			if json.Unmarshal(raw, &o) == nil && o.ID != "" {
				f(strings.ToUpper(method), path, o)
			}
		}
	}
}

// RoundTrip sends a request and notes its operation. One without parameters in the path wins.
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(req)
	if err == nil {
		r.note(req, res.StatusCode)
	}
	return res, err
}

func (r *recorder) note(req *http.Request, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, exact := contractOperation{}, false
	r.operations(func(method, path string, o contractOperation) {
		pattern := pathParameter.ReplaceAllString(regexp.QuoteMeta(path), `[^/]+`)
		matches := regexp.MustCompile("^" + pattern + "$").MatchString(req.URL.Path)
		if method == req.Method && matches && (!exact || path == req.URL.Path) {
			found, exact = o, path == req.URL.Path
		}
	})
	code := http.StatusText(status)
	if _, ok := found.Responses[strconv.Itoa(status)]; !ok && status < 400 {
		r.faults = append(r.faults, req.Method+" "+req.URL.Path+": "+code)
	}
	if status < 400 {
		r.driven[found.ID] = true
	}
}

// TestOperations_AreAllDriven calls every operation of the contract. A new operation fails it until
// one of the scenarios calls it.
func TestOperations_AreAllDriven(t *testing.T) {
	r := newRecorder(t)
	c, err := oei.Dial(t.Context(), address, oei.Password("admin", password),
		oei.HTTPClient(&http.Client{Transport: r}))
	if err != nil {
		t.Fatal(err)
	}
	p := &plant{T: t, c: c, recorder: r}
	p.gateway = must(c.CreateGateway(t.Context(), oei.GatewayCreate{Name: "Press line 2"}))
	p.sensor = must(c.CreateSensor(t.Context(), oei.SensorCreate{
		GatewayID: p.gateway.ID,
		Name:      "Motor",
		Type:      "temperature",
	}))
	for _, scenario := range []func(*plant){
		driveSystem, driveAuth, driveUsers, driveAPIKeys, driveGateways, driveData, driveAlarms,
		driveNotifications, driveLive, driveDeletions,
	} {
		scenario(p)
	}
	var missing []string
	r.operations(func(_, _ string, o contractOperation) {
		if !r.driven[o.ID] {
			missing = append(missing, o.ID)
		}
	})
	slices.Sort(missing)
	if len(missing) > 0 {
		t.Errorf("not driven: %v", missing)
	}
	if len(r.faults) > 0 {
		t.Errorf("answered otherwise than the contract says: %v", r.faults)
	}
}

// plant is what the scenarios share.
type plant struct {
	*testing.T
	c        *oei.Client
	recorder *recorder
	gateway  oei.Gateway
	sensor   oei.Sensor
}

// must returns v. A panic fails the test with the place.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// all collects a list.
func all[T any](list func(func(T, error) bool)) (items []T) {
	for item, err := range list {
		items = append(items, must(item, err))
	}
	return items
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// page requests an address that has no method.
func (p *plant) page(path string) string {
	p.Helper()
	req := must(http.NewRequestWithContext(p.Context(), http.MethodGet, path, nil))
	res, err := p.c.Do(req)
	if err != nil {
		p.Fatal(err)
	}
	defer res.Body.Close()
	return string(must(io.ReadAll(res.Body)))
}

// recorded notes the operations of another client too.
func (p *plant) recorded() oei.Option {
	return oei.HTTPClient(&http.Client{Transport: p.recorder})
}

// write stores a reading of the sensor, now.
func (p *plant) write(value float64) {
	must(p.c.WriteReadings(p.Context(), nil, oei.ReadingsWriteRequest{
		Readings: []oei.ReadingCreate{{SensorID: p.sensor.ID, Value: oei.Value(value)}},
	}))
}

func wantIs(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}
