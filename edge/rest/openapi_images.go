package rest

import (
	"github.com/danielgtaylor/huma/v2"

	"parley/edge/media"
)

const uploadSample = "curl -X POST $PARLEY_URL/v1/image \\\n  -H \"Authorization: Bearer $TOKEN\" \\\n  -F 'file=@cat.jpg'"

// putImages describes what package media serves: its bodies are no JSON, so they are in no table.
func (d description) putImages(paths map[string]*huma.PathItem) {
	made := &huma.Response{Description: "The three pictures that were made.", Content: map[string]*huma.MediaType{
		"application/json": {Schema: d.schema(media.Image{}, "Image")},
	}}
	upload := d.image("uploadImage", "Upload an image; its url then goes into an image event.", "200", made)
	upload.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"multipart/form-data": {Schema: uploadForm()}}}
	upload.Extensions = map[string]any{"x-codeSamples": []codeSample{{"Shell", "curl", uploadSample}}}
	paths["/v1/image"] = &huma.PathItem{Post: upload}

	bytes := &huma.Response{Description: "The picture.", Content: map[string]*huma.MediaType{}}
	for _, kind := range []string{"image/jpeg", "image/png", "image/gif"} {
		bytes.Content[kind] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	}
	one := []*huma.Param{{Name: "image", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}}}
	show := d.image("getImage", "Fetch one picture of an image.", "200", bytes)
	gone := d.image("deleteImage", "Delete an image with all its pictures, whichever is named.", "204", &huma.Response{Description: "Done."})
	show.Parameters, gone.Parameters = one, one
	paths["/v1/image/{image}"] = &huma.PathItem{Get: show, Delete: gone}
}

func (d description) image(id, summary, status string, done *huma.Response) *huma.Operation {
	return &huma.Operation{
		OperationID: v1.name + "_" + id, Summary: summary, Tags: []string{v1.name},
		Security:  []map[string][]string{{string(bearer): {}}},
		Responses: map[string]*huma.Response{status: done, "default": d.refusal(&operation{generation: v1})},
	}
}

// uploadForm is the form of an upload, with what its parts may be.
func uploadForm() *huma.Schema {
	ratio := func(least float64, usual int, about string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Maximum: ptr(100.0), Default: usual, Description: about}
	}
	return &huma.Schema{
		Type: huma.TypeObject, Required: []string{"file"},
		Properties: map[string]*huma.Schema{
			"file":                 {Type: huma.TypeString, Format: "binary", Description: "JPEG, PNG, GIF or WebP, at most 15 MiB."},
			"quality_ratio":        ratio(0, 100, "Quality of JPEGs."),
			"medium_size_ratio":    ratio(1, 50, "Sides of the medium picture, in per cent of the original's."),
			"thumbnail_size_ratio": ratio(1, 30, "Sides of the thumbnail, in per cent of the original's."),
		},
	}
}
