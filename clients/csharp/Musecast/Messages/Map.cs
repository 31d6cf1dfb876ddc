using System;
using System.Collections;
using System.Collections.Generic;

namespace Musecast.Messages
{
    /// <summary>A map of a message, in the order of its keys, with typed access that never throws.</summary>
    /// <remarks>Values are null, <see cref="bool"/>, <see cref="long"/>, <see cref="double"/>, <see cref="string"/>,
    /// <c>byte[]</c>, <c>List&lt;object?&gt;</c> and <see cref="Map"/>; a writer takes <see cref="int"/>,
    /// <see cref="ulong"/> and other lists, too. Unknown keys are there for whoever knows them.</remarks>
    public sealed class Map : IEnumerable<KeyValuePair<string, object?>>
    {
        private readonly List<string> _keys = new List<string>();
        private readonly Dictionary<string, object?> _values = new Dictionary<string, object?>(StringComparer.Ordinal);

        /// <summary>The value of a key; null when it is absent.</summary>
        public object? this[string key]
        {
            get => _values.TryGetValue(key, out var value) ? value : null;
            set
            {
                if (!_values.ContainsKey(key))
                {
                    _keys.Add(key);
                }

                _values[key] = value;
            }
        }

        /// <summary>How many keys there are.</summary>
        public int Count => _keys.Count;

        /// <summary>Whether the key is there, be its value null.</summary>
        public bool Has(string key) => _values.ContainsKey(key);

        /// <summary>Set a key (for collection initialisers).</summary>
        public void Add(string key, object? value) => this[key] = value;

        /// <summary>Set a key unless the value is null: arguments that are left out.</summary>
        public Map With(string key, object? value)
        {
            if (value != null)
            {
                this[key] = value;
            }

            return this;
        }

        /// <summary>A text; null when it is absent or something else.</summary>
        public string? Text(string key) => this[key] as string;

        /// <summary>An integer; null when it is absent or something else.</summary>
        public long? Integer(string key) => this[key] switch
        {
            long value => value,
            int value => value,
            double value when value == Math.Floor(value) && Math.Abs(value) < 9e15 => (long)value,
            _ => null,
        };

        /// <summary>A number; null when it is absent or something else.</summary>
        public double? Number(string key) => this[key] switch
        {
            double value => value,
            long value => value,
            int value => value,
            _ => null,
        };

        /// <summary>Whether the value is true.</summary>
        public bool Flag(string key) => this[key] is true;

        /// <summary>Bytes, also from the base64 of JSON; null when it is absent or neither.</summary>
        public byte[]? Bytes(string key)
        {
            switch (this[key])
            {
                case byte[] bytes:
                    return bytes;
                case string text:
                    try
                    {
                        return Convert.FromBase64String(text);
                    }
                    catch (FormatException)
                    {
                        return null;
                    }

                default:
                    return null;
            }
        }

        /// <summary>A map; null when it is absent or something else.</summary>
        public Map? Inner(string key) => this[key] as Map;

        /// <summary>A list; empty when it is absent or something else.</summary>
        public IReadOnlyList<object?> Items(string key) => this[key] as List<object?> ?? new List<object?>();

        /// <inheritdoc/>
        public IEnumerator<KeyValuePair<string, object?>> GetEnumerator()
        {
            foreach (var key in _keys)
            {
                yield return new KeyValuePair<string, object?>(key, _values[key]);
            }
        }

        IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
    }
}
