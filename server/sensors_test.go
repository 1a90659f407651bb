package server_test

import (
	"reflect"
	"testing"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/store"
)

func TestSensor_RangeAndGateway(t *testing.T) {
	s := start(t)
	c := s.as(store.Engineer)
	ctx := t.Context()
	g := s.addGateway()
	number := nullable.NewNullableWithValue[float64]
	fresh := func(f func(*client.SensorCreate)) *client.CreateSensorResponse {
		body := client.SensorCreate{
			Key:       new("temp"),
			Name:      "x",
			Type:      "temperature",
			GatewayID: g.ID,
		}
		f(&body)
		return must(c.CreateSensorWithResponse(ctx, body))
	}
	if res := fresh(func(b *client.SensorCreate) { b.GatewayID = 99 }); res.StatusCode() != 400 ||
		res.ApplicationProblemJSON400.Errors[0].Field != "gateway_id" {
		t.Errorf("of an unknown gateway: got %s", res.Body)
	}
	if res := fresh(func(b *client.SensorCreate) {
		b.MinValue, b.MaxValue = number(2), number(1)
	}); res.StatusCode() != 400 ||
		res.ApplicationProblemJSON400.Errors[0].Field != "min_value" {
		t.Errorf("min above max: got %s", res.Body)
	}
	made := fresh(func(b *client.SensorCreate) {
		b.MinValue, b.MaxValue = number(-40), number(200)
	})
	if made.StatusCode() != 201 {
		t.Fatalf("create: got %s", made.Body)
	}
	if res := fresh(func(*client.SensorCreate) {}); res.StatusCode() != 409 ||
		res.ApplicationProblemJSON409.Errors[0].Field != "key" {
		t.Errorf("the key again: got %s", res.Body)
	}
	id := made.JSON201.ID
	if res := must(c.UpdateSensorWithResponse(ctx, id, nil,
		client.SensorUpdate{MaxValue: number(-41)})); res.StatusCode() != 400 ||
		res.ApplicationProblemJSON400.Errors[0].Field != "max_value" {
		t.Errorf("max below min: got %s", res.Body)
	}
	if res := must(c.UpdateSensorWithResponse(ctx, id, nil,
		client.SensorUpdate{Name: new("y")})); res.JSON200.MinValue.MustGet() != -40 {
		t.Errorf("min_value left out: got %s", res.Body)
	}
	if res := must(c.UpdateSensorWithResponse(ctx, id, nil,
		client.SensorUpdate{
			MinValue: nullable.NewNullNullable[float64](),
		})); !res.JSON200.MinValue.IsNull() ||
		res.JSON200.MaxValue.MustGet() != 200 {
		t.Errorf("min_value null: got %s", res.Body)
	}
}

func TestSensor_Retention(t *testing.T) {
	s := start(t)
	c := s.as(store.Engineer)
	ctx := t.Context()
	g := s.addGateway()
	made := must(c.CreateSensorWithResponse(ctx, client.SensorCreate{
		Key:           new("temp"),
		Name:          "x",
		Type:          "temperature",
		GatewayID:     g.ID,
		RetentionDays: nullable.NewNullableWithValue(30),
	}))
	if made.StatusCode() != 201 || made.JSON201.RetentionDays.MustGet() != 30 {
		t.Fatalf("create: got %s", made.Body)
	}
	for name, tt := range map[string]struct {
		change client.SensorUpdate
		want   nullable.Nullable[int]
	}{
		"0 is for ever": {
			client.SensorUpdate{RetentionDays: nullable.NewNullableWithValue(0)},
			nullable.NewNullableWithValue(0),
		},
		"null is the default": {
			client.SensorUpdate{RetentionDays: nullable.NewNullNullable[int]()},
			nullable.NewNullNullable[int](),
		},
		"what is left out stays as is": {
			client.SensorUpdate{RetentionDays: nullable.NewNullableWithValue(7), Name: new("y")},
			nullable.NewNullableWithValue(7),
		},
	} {
		if res := must(c.UpdateSensorWithResponse(ctx, made.JSON201.ID, nil,
			tt.change)); res.JSON200 == nil || !reflect.DeepEqual(res.JSON200.RetentionDays,
			tt.want) {
			t.Errorf("%s: got %s", name, res.Body)
		}
		if res := must(c.UpdateSensorWithResponse(ctx, made.JSON201.ID, nil,
			client.SensorUpdate{Name: new("z")})); !reflect.DeepEqual(res.JSON200.RetentionDays,
			tt.want) {
			t.Errorf("%s, and then another change: got %s", name, res.Body)
		}
	}
	if res := must(c.UpdateSensorWithResponse(ctx, made.JSON201.ID, nil,
		client.SensorUpdate{
			RetentionDays: nullable.NewNullableWithValue(-1),
		})); res.StatusCode() != 400 ||
		res.ApplicationProblemJSON400.Errors[0].Field != "retention_days" {
		t.Errorf("-1: got %s", res.Body)
	}
}
