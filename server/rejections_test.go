package server_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/store"
)

// refuse records rs as ingest does.
func (s *system) refuse(rs ...store.Rejection) {
	s.t.Helper()
	_, err := s.store.Write(s.t.Context(), nil,
		store.SideWrites{Rejections: rs})
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestRejections_AreReadAsRecorded(t *testing.T) {
	s := start(t)
	g := s.addGateway()
	first := time.Date(2026, 3, 4, 12, 0, 0, 123456000, time.UTC)
	r := store.Rejection{
		GatewayID: g.ID,
		Gateway:   g.Key,
		Topic:     "gateways/" + g.Key + "/data",
		Reason:    "malformed",
		Detail:    "it is empty",
		At:        first,
	}
	s.refuse(r, r)
	r.At, r.Detail = first.Add(time.Minute), "as it was said last"
	s.refuse(r)
	res := must(s.as(store.Engineer).ListRejectionsWithResponse(t.Context(), nil))
	if res.JSON200 == nil || len(*res.JSON200) != 1 {
		t.Fatalf("got %s", res.Body)
	}
	got := (*res.JSON200)[0]
	if got.ID == 0 || got.Gateway != g.Key || got.GatewayID.MustGet() != g.ID ||
		got.Topic != r.Topic || got.Reason != client.RejectionReasonMalformed ||
		got.Detail != r.Detail || got.Count != 3 || !got.FirstAt.Equal(first) ||
		!got.LastAt.Equal(r.At) || got.Payload != "" || got.PayloadSize != 0 {
		t.Errorf("got %s", res.Body)
	}

	payloads := map[string]struct {
		payload, want string
		encoding      client.RejectionPayloadEncoding
	}{
		"text": {
			`{"Value": 21.5, "x": "<é>"}`, `{"Value": 21.5, "x": "<é>"}`, "text",
		},
		"text of several lines": {"a\r\n\tb", "a\r\n\tb", "text"},
		"no UTF-8":              {"\xff\xfe", "//4=", "base64"},
		"a control character":   {"a\x00b", "YQBi", "base64"},
		"text that was cut": {
			strings.Repeat("x", 5000), strings.Repeat("x", 4096), "text",
		},
		"text cut within a character": {
			"x" + strings.Repeat("é", 3000), "x" + strings.Repeat("é", 2047), "text",
		},
		"text that was cut in a sign": {
			"xy" + strings.Repeat("💥", 3000), "xy" + strings.Repeat("💥", 1023), "text",
		},
		"text that ends with half a character": {
			"caf\xc3", base64.StdEncoding.EncodeToString([]byte("caf\xc3")), "base64",
		},
		"no UTF-8, and cut": {
			strings.Repeat("\x80", 5000),
			base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x80", 4096))), "base64",
		},
	}
	for name, tt := range payloads {
		r.Topic, r.Payload = name, []byte(tt.payload)
		s.refuse(r)
		res := must(s.as(store.Engineer).ListRejectionsWithResponse(t.Context(),
			&client.ListRejectionsParams{Topic: &name}))
		if list := *res.JSON200; len(list) != 1 || list[0].Payload != tt.want ||
			list[0].PayloadEncoding != tt.encoding || list[0].PayloadSize != len(tt.payload) {
			t.Errorf("%s: got %.200s", name, res.Body)
		}
	}
	r = store.Rejection{Gateway: "unknown", Topic: "x", Reason: "unknown_gateway", At: first}
	s.refuse(r)
	res = must(s.as(store.Engineer).ListRejectionsWithResponse(t.Context(),
		&client.ListRejectionsParams{Gateway: new("unknown")}))
	if list := *res.JSON200; len(list) != 1 || !list[0].GatewayID.IsNull() {
		t.Errorf("of a gateway that is not registered: got %s", res.Body)
	}
}

func TestRejections_AreFilteredAndPaged(t *testing.T) {
	s := start(t)
	a, b := s.addGateway(), s.addGateway()
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for i := range 6 {
		for _, g := range []store.Gateway{a, b} {
			s.refuse(store.Rejection{
				GatewayID: g.ID,
				Gateway:   g.Key,
				Topic:     fmt.Sprintf("sensors/%s/t%d/data", g.Key, i%2),
				Reason:    []string{"malformed", "too_old", "conflict"}[i%3],
				// two at each instant, of each gateway
				Payload: []byte(fmt.Sprint(i)), At: at.Add(time.Duration(i/2) * time.Second),
			})
		}
	}
	c := s.as(store.Engineer)
	tests := map[string]struct {
		params client.ListRejectionsParams
		want   string // the payloads
	}{
		// of an instant the last recorded first
		"all":            {client.ListRejectionsParams{}, "554433221100"},
		"a gateway":      {client.ListRejectionsParams{Gateway: &a.Key}, "543210"},
		"a gateway's id": {client.ListRejectionsParams{GatewayID: &b.ID}, "543210"},
		"a reason": {
			client.ListRejectionsParams{
				Reason:    new(client.RejectionReasonConflict),
				GatewayID: &a.ID,
			},
			"52",
		},
		"a topic": {
			client.ListRejectionsParams{Topic: new("sensors/" + a.Key + "/t1/data")}, "531",
		},
		"a time": {
			client.ListRejectionsParams{
				Gateway: &a.Key,
				Start:   new(at.Add(time.Second)),
				End:     new(at.Add(2 * time.Second)),
			},
			"32",
		},
		"two that differ": {client.ListRejectionsParams{Gateway: &a.Key, GatewayID: &b.ID}, ""},
	}
	for name, tt := range tests {
		for _, limit := range []int{1, 2, 5, 100} {
			got, params := "", tt.params
			params.Limit, params.Count = &limit, new(true)
			for {
				res := must(c.ListRejectionsWithResponse(t.Context(), &params))
				if res.JSON200 == nil {
					t.Fatalf("%s: got %s", name, res.Body)
				}
				for _, r := range *res.JSON200 {
					got += r.Payload
				}
				want := fmt.Sprint(len(tt.want))
				if n := res.HTTPResponse.Header.Get("X-Total-Count"); n != want {
					t.Errorf("%s: X-Total-Count: got %s, want %d", name, n, len(tt.want))
				}
				_, rest, more := strings.Cut(res.HTTPResponse.Header.Get("Link"), "cursor=")
				if !more {
					break
				}
				rest, _, _ = strings.Cut(rest, ">")
				rest, _, _ = strings.Cut(rest, "&")
				params.Cursor = &rest
			}
			if got != tt.want {
				t.Errorf("%s, %d on a page: got %q, want %q", name, limit, got, tt.want)
			}
		}
	}
	token := s.token(s.users[store.Engineer])
	for path, field := range map[string]string{
		"reason=unheard_of": "reason", "start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z": "end",
		"gateway=": "gateway", "order=asc": "order",
	} {
		if res := s.send("GET", "/api/data/rejections?"+path, token, ""); res.StatusCode != 400 ||
			!names(res, field) {
			t.Errorf("%s: got %d: %s", path, res.StatusCode, res.body)
		}
	}
}
