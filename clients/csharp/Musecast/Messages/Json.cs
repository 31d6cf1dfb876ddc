using System;
using System.Collections;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Runtime.Serialization.Json;
using System.Xml;
using System.Xml.Linq;

namespace Musecast.Messages
{
    /// <summary>JSON to and from the values of <see cref="Map"/>; bytes become base64.</summary>
    /// <remarks>By the reader and writer of the base library, which every target has: they show JSON as XML.</remarks>
    public static class Json
    {
        private static readonly XmlDictionaryReaderQuotas Quotas = new XmlDictionaryReaderQuotas
        {
            MaxDepth = 64,
            MaxStringContentLength = 64 << 20,
            MaxArrayLength = 64 << 20,
            MaxBytesPerRead = 64 << 20,
            MaxNameTableCharCount = 1 << 20,
        };

        /// <summary>The text of a value, in UTF-8.</summary>
        public static byte[] Write(object? value)
        {
            using var stream = new MemoryStream();
            using (var writer = JsonReaderWriterFactory.CreateJsonWriter(stream))
            {
                Element("root", value).WriteTo(writer);
            }

            return stream.ToArray();
        }

        /// <summary>The value of a text.</summary>
        /// <exception cref="FormatException">It is no JSON.</exception>
        public static object? Read(byte[] utf8)
        {
            try
            {
                using var reader = JsonReaderWriterFactory.CreateJsonReader(utf8, Quotas);
                return Value(XElement.Load(reader));
            }
            catch (XmlException error)
            {
                throw new FormatException("no JSON: " + error.Message, error);
            }
        }

        private static XElement Element(XName name, object? value)
        {
            var element = new XElement(name);
            switch (value)
            {
                case null:
                    return Typed(element, "null", null);
                case bool flag:
                    return Typed(element, "boolean", flag ? "true" : "false");
                case string text:
                    return Typed(element, "string", text);
                case byte[] bytes:
                    return Typed(element, "string", Convert.ToBase64String(bytes));
                case Map map:
                    foreach (var pair in map)
                    {
                        element.Add(Element(XmlConvert.VerifyName(pair.Key), pair.Value));
                    }

                    return Typed(element, "object", null);
                case IEnumerable list:
                    foreach (var item in list)
                    {
                        element.Add(Element("item", item));
                    }

                    return Typed(element, "array", null);
                case IFormattable number:
                    return Typed(element, "number", number.ToString(number is double ? "R" : null, CultureInfo.InvariantCulture));
                default:
                    throw new ArgumentException("JSON has no " + value.GetType());
            }
        }

        private static XElement Typed(XElement element, string type, string? content)
        {
            element.Add(new XAttribute("type", type));
            if (content != null)
            {
                element.Add(content);
            }

            return element;
        }

        private static object? Value(XElement element)
        {
            switch ((string?)element.Attribute("type"))
            {
                case "null":
                    return null;
                case "boolean":
                    return element.Value == "true";
                case "number":
                    return Number(element.Value);
                case "object":
                    var map = new Map();
                    foreach (var child in element.Elements())
                    {
                        // A key that is no XML name is an attribute of an element that stands for it.
                        map[(string?)child.Attribute("item") ?? XmlConvert.DecodeName(child.Name.LocalName)] = Value(child);
                    }

                    return map;
                case "array":
                    var list = new List<object?>();
                    foreach (var child in element.Elements())
                    {
                        list.Add(Value(child));
                    }

                    return list;
                default:
                    return element.Value;
            }
        }

        private static object Number(string text) =>
            long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var whole)
                ? (object)whole
                : double.Parse(text, NumberStyles.Float, CultureInfo.InvariantCulture);
    }
}
